"""Measuring the cells of a group in fresh processes."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from servegate.errors import MeasurementError
from servegate.measure import process_by_process
from servegate.measure.process_by_process import GroupMeasurement, measure_group
from servegate.measure.targets import Conditions
from servegate.records import Cell, Sample
from unit_tests.builders.runs.samples import make_sample
from unit_tests.builders.targets import FakeTarget, make_conditions

CELLS = [Cell("api", "concurrency", value) for value in (1, 8, 32)]


class Processes(FakeTarget):
    """Notes what is started, measured and ended; each process measures its own number as throughput."""

    def __init__(self, fail_in: int | None = None) -> None:
        super().__init__()
        self.fail_in = fail_in
        self.events: list[str] = []
        self.started = 0

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator["Instrument"]:
        self.started += 1
        number = self.started
        self.events.append(f"start {number}")
        try:
            yield Instrument(number, self, {"port": str(8000 + number), f"seen by {number}": "yes"})
        finally:
            self.events.append(f"end {number}")


@dataclass
class Instrument:
    """One "process"."""

    number: int
    processes: Processes
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        if self.processes.fail_in == self.number:
            raise MeasurementError("no figure")
        self.processes.events.append(f"{cell.value} for {seconds:g} s")
        return make_sample(self.number)


def measure_all(
    processes: Processes, cells: list[Cell], count: int, shown: list[str] | None = None
) -> GroupMeasurement:
    progress = shown if shown is not None else []
    return measure_group(processes, cells, make_conditions(), processes=count, seconds=5, progress=progress.append)


class TestMeasureGroup:
    """Every cell in every process."""

    def test_each_cell_has_a_sample_of_each_process(self) -> None:
        samples = measure_all(Processes(), CELLS, 4).samples
        assert list(samples) == CELLS
        for cell in CELLS:
            assert [sample.throughput_per_s for sample in samples[cell]] == pytest.approx([1, 2, 3, 4])

    def test_the_order_rotates_and_one_process_ends_before_the_next_starts(self) -> None:
        """So no cell is always the first of a process, when the machine's clock may still be high."""
        processes = Processes()
        measure_all(processes, CELLS, 4)
        orders = [[1, 8, 32], [8, 32, 1], [32, 1, 8], [1, 8, 32]]
        expected: list[str] = []
        for number, order in enumerate(orders, start=1):
            expected += [f"start {number}", *[f"{value} for 5 s" for value in order], f"end {number}"]
        assert processes.events == expected

    def test_details_of_all_processes_are_kept_the_last_ones_words_last(self) -> None:
        assert measure_all(Processes(), CELLS, 2).details == {"port": "8002", "seen by 1": "yes", "seen by 2": "yes"}

    def test_progress_is_told_before_something_begins(self) -> None:
        shown: list[str] = []
        measure_all(Processes(), CELLS[:1], 2, shown)
        assert shown == [
            "api: process 1 of 2: starts",
            "api: process 1 of 2: api[concurrency=1]",
            "api: process 2 of 2, 1 s left: starts",
            "api: process 2 of 2, 1 s left: api[concurrency=1]",
        ]

    def test_the_time_that_is_left_counts_down_from_cell_to_cell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now_s = itertools.count(0, 5.0)  # each look at the clock is 5 s after the last
        monkeypatch.setattr(process_by_process, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
        shown: list[str] = []
        measure_all(Processes(), CELLS, 2, shown)
        left = [text.partition(", ")[2].partition(":")[0] for text in shown if "left" in text]
        # These lines come after half, half, two thirds and five sixths of the work.
        assert left == ["5 s left", "10 s left", "8 s left", "5 s left"]

    def test_each_measurement_of_a_cell_is_watched(self) -> None:
        """The starts and ends of processes aren't watched."""
        processes = Processes()

        @contextmanager
        def watch() -> Iterator[None]:
            processes.events.append("watched")
            yield
            processes.events.append("seen")

        measure_group(
            processes, CELLS[:1], make_conditions(), processes=2, seconds=5, progress=lambda _: None, watch=watch
        )
        measured = ["watched", "1 for 5 s", "seen"]
        assert processes.events == ["start 1", *measured, "end 1", "start 2", *measured, "end 2"]

    def test_an_error_ends_the_process_and_the_measurement(self) -> None:
        processes = Processes(fail_in=2)
        with pytest.raises(MeasurementError, match="no figure"):
            measure_all(processes, CELLS[:1], 3)
        assert processes.events[-2:] == ["start 2", "end 2"]

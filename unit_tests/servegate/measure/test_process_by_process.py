"""Measuring the cells of a group in fresh processes, and one cell through a real client on a real server."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from servegate.errors import MeasurementError, ProcessError
from servegate.load.workload import Workload
from servegate.measure import process_by_process as measure
from servegate.measure.process_by_process import GroupMeasurement, measure_group, open_api_instrument, summarise_latency
from servegate.measure.targets import Group
from servegate.processes.managed import ServerProcess
from servegate.records import Cell, Sample
from unit_tests.builders import stub_server
from unit_tests.builders.samples import make_sample

DELAY_S = stub_server.DELAY_S
CELLS = [Cell("api", "concurrency", value) for value in (1, 8, 32)]


@dataclass
class Processes:
    """Notes what is started, measured and ended; each process measures its own number as throughput."""

    events: list[str] = field(default_factory=list)
    started: int = 0
    fail_in: int | None = None

    @property
    def group(self) -> Group:
        return Group("api", "requests", self.fresh_process)

    @contextmanager
    def fresh_process(self) -> Iterator["Instrument"]:
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
    return measure_group(processes.group, cells, processes=count, seconds=5, progress=progress.append)


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
            "api: process 2 of 2, 10 s left: starts",
            "api: process 2 of 2, 10 s left: api[concurrency=1]",
        ]

    def test_an_error_ends_the_process_and_the_measurement(self) -> None:
        processes = Processes(fail_in=2)
        with pytest.raises(MeasurementError, match="no figure"):
            measure_all(processes, CELLS[:1], 3)
        assert processes.events[-2:] == ["start 2", "end 2"]


class TestApiInstrument:
    """A cell's value is the concurrency of a real client."""

    def measure(self, server: ServerProcess, mode: str, cell: Cell, seconds: float, warmup_s: float = 0.1) -> Sample:
        workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER)
        with open_api_instrument(server, workload, warmup_s, details={}) as instrument:
            return instrument.measure(cell, seconds)

    def test_a_sample_holds_what_client_and_server_did(self, stub: ServerProcess) -> None:
        sample = self.measure(stub, "right", Cell("api", "concurrency", 2), 0.5)
        assert 0.5 * 2 / DELAY_S < sample.throughput_per_s <= 2 / DELAY_S
        assert sample.units_per_round % 2 == 0
        assert DELAY_S * 1e3 - 5 <= sample.latency.p50_ms <= sample.latency.p95_ms <= sample.latency.p99_ms
        assert (sample.failures, sample.success_rate) == ((), 1.0)
        assert sample.answers >= 5
        assert sample.client_cpu_cores is not None
        assert sample.client_cpu_cores > 0
        memory_bytes = psutil.Process(stub.process.pid).memory_info().rss
        assert sample.telemetry is not None
        assert sample.telemetry.memory_bytes == pytest.approx(memory_bytes, rel=0.1)

    def test_failures_are_no_throughput(self, stub: ServerProcess) -> None:
        sample = self.measure(stub, "sometimes-wrong", Cell("api", "concurrency", 2), 60)
        assert sample.rounds_s == ()
        assert sample.failures[0] == "answer.predictions[0].label is 'Dog', expected 'Cat'"
        assert sample.answers > len(sample.failures) >= 5

    def test_the_clients_deadline_leaves_the_time_that_was_asked_for(
        self, stub: ServerProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever --perf-seconds says, the client isn't killed while it measures."""
        monkeypatch.setattr(measure, "_CLIENT_DEADLINE_S", 1.5)
        sample = self.measure(stub, "right", Cell("api", "concurrency", 2), 2.0)
        assert sample.failures == ()

    def test_too_few_answers_are_an_error_that_names_the_cell(self, stub: ServerProcess) -> None:
        """The server needs 1 s for an answer; within eight times the asked 0.05 s there are none."""
        message = r"api\[concurrency=2\]: \d answers were too few to measure; .*too short"
        with pytest.raises(MeasurementError, match=message):
            self.measure(stub, "slow", Cell("api", "concurrency", 2), 0.05, warmup_s=0.0)

    def test_a_server_that_dies_is_an_error_and_not_a_wrong_answer(self) -> None:
        command = [sys.executable, stub_server.__file__]
        with (
            ServerProcess(command, cwd=Path.cwd(), ready_deadline_s=60.0) as server,
            pytest.raises(ProcessError, match=r"the server died while api\[concurrency=2\] was measured"),
        ):
            self.measure(server, "dies", Cell("api", "concurrency", 2), 60)


def test_latency_is_summarised_by_mean_and_percentiles() -> None:
    latency = summarise_latency([float(value) for value in range(101)])
    assert (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms) == (50.0, 50.0, 95.0, 99.0)


def test_without_an_answer_there_is_no_latency() -> None:
    latency = summarise_latency([])
    assert all(math.isnan(value) for value in (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms))

"""Load in bursts on a real server that stands still between them."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from servegate.errors import MeasurementError, ProcessError
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.bursts import ApiBurstLoad, PausableServer, open_pausable_server
from servegate.measure.cell_load import CellLoad
from servegate.measure.http.launched_server import choose_pausing
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget
from servegate.processes.pausing import ON_CPU, ON_GPU, Pausing
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Checkout
from unit_tests.builders import stub_server
from unit_tests.builders.nvml.stand_in import StandInGpu, StandInNvml
from unit_tests.builders.waiting import wait_until

CELL = Cell("api", "concurrency", 4)
DELAY_S = stub_server.DELAY_S


@contextmanager
def contender(mode: str = "right", processes: int = 1) -> Iterator[PausableServer]:
    """On a server of its own: it is stopped and goes on all the time."""
    with ServerProcess([sys.executable, stub_server.__file__], cwd=Path.cwd(), ready_deadline_s=60.0) as server:
        workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER)
        engine = LoadEngine(processes=processes)
        with open_pausable_server(server, lambda cell: _load_of(workload, cell), 0.2, engine) as opened:
            yield opened


def _load_of(workload: Workload, cell: Cell) -> CellLoad:
    if cell.group == "latency":
        return CellLoad(workload, 32, percent_of_capacity=float(cell.value))
    return CellLoad(workload, int(cell.value))


def must_stand_still(contender: PausableServer) -> None:
    """At once, but for the moment that a signal takes."""
    process = psutil.Process(contender.server.process.pid)
    wait_until(lambda: bool(process.status() == psutil.STATUS_STOPPED), "the server stands still")


@pytest.fixture(scope="module")
def right() -> Iterator[PausableServer]:
    with contender() as opened:
        yield opened


def test_the_server_runs_in_bursts_alone(right: PausableServer) -> None:
    must_stand_still(right)
    load = right.start_load(CELL)
    must_stand_still(right)
    load.burst(0.1)
    must_stand_still(right)
    load.finish()
    must_stand_still(right)


def test_requests_in_flight_go_on_in_the_next_burst(right: PausableServer) -> None:
    """Bursts of a third of the delay: no single one is long enough for a request, and yet none is lost.

    The stub's delay runs on while it is stopped, so that each burst but the first finds all its requests due.
    """
    load = right.start_load(CELL)
    for _ in range(9):
        load.burst(DELAY_S / 3)
        time.sleep(DELAY_S)  # the other arm's turn
    record = load.finish()
    assert len(record.units) == len(record.seconds) == 9
    assert all(seconds >= DELAY_S / 3 for seconds in record.seconds)
    assert record.sample.failures == ()
    assert record.sample.answers >= 16  # of 32 on a machine with nothing else to do
    assert sum(record.units) == pytest.approx(record.sample.answers, abs=8)


def test_latency_and_stages_are_the_time_in_which_the_server_could_run() -> None:
    """A pause of the server isn't its latency: one connection, whose requests are all paused for a second.

    The one stage of the stub is all of its time, and its CPU time is what the stub says.
    """
    with contender("timed") as timed:
        load = timed.start_load(Cell("api", "concurrency", 1))
        for _ in range(4):
            load.burst(DELAY_S / 2)
            time.sleep(1.0)
        sample = load.finish().sample
    assert max(sample.latencies_ms) < 800
    assert list(sample.stages) == ["sleep"]
    assert sample.stages["sleep"].cpu_ms == pytest.approx(0.25)
    assert 0.5 * sample.latency.mean_ms < sample.stages["sleep"].ms < sample.latency.mean_ms


@pytest.mark.parametrize("processes", [1, 2])
def test_in_turns_a_wait_has_its_true_length(processes: int) -> None:
    """The stub sleeps, and its sleep goes on while it is stopped: in bursts of a third of it, it looks too short."""
    with contender(processes=processes) as opened:
        load = opened.start_load(CELL)
        for _ in range(6):
            load.burst(DELAY_S / 3)
            time.sleep(DELAY_S)
        for _ in range(2):
            load.turn(1.0)
            must_stand_still(opened)
            time.sleep(DELAY_S)
        record = load.finish()
    sample = record.sample
    assert sample.latency.p50_ms < 0.8e3 * DELAY_S
    assert len(sample.windows_ms) == 4
    assert all(latency_ms >= 1e3 * DELAY_S for window_ms in sample.windows_ms for latency_ms in window_ms)
    assert sample.felt_latency.p50_ms >= 1e3 * DELAY_S
    assert (len(record.units), sample.failures, len(sample.client_cores)) == (6, (), processes)


def test_turns_alone_have_no_throughput() -> None:
    with contender() as opened:
        load = opened.start_load(CELL)
        load.turn(0.5)
        record = load.finish()
    assert (record.units, record.sample.rounds_s, record.sample.telemetry) == ((), (), None)
    assert record.sample.answers >= len(record.sample.windows_ms[0]) >= 4


class TestOpenLoop:
    """Requests that come at a rate, which is a share of what the server can answer."""

    CELL = Cell("latency", "load", 25)

    def test_the_rate_is_measured_while_the_server_runs_and_only_where_the_load_has_one(
        self, right: PausableServer
    ) -> None:
        """32 connections to a server that takes 0.15 s for each are at most 213 a second."""
        rate = right.measure_rate(self.CELL)
        must_stand_still(right)
        assert rate is not None
        assert rate.failures == ()
        assert 0.3 < rate.per_s / (0.25 * 32 / DELAY_S) < 1.05
        assert right.measure_rate(CELL) is None

    def test_wrong_answers_are_told_with_the_rate(self) -> None:
        with contender("sometimes-wrong") as opened:
            rate = opened.measure_rate(self.CELL)
        assert rate is not None
        assert rate.failures[0] == "answer.predictions[0].label is 'Dog', expected 'Cat'"

    def test_a_slow_rate_has_longer_turns(self, right: PausableServer) -> None:
        """So that a turn has forty requests on average."""
        for rate_per_s, turn_s in ((1000.0, 2.0), (4.0, 10.0)):
            load = right.start_load(self.CELL, rate_per_s)
            assert load.shortest_turn_s == turn_s
            load.finish()

    def test_nothing_is_sent_while_the_server_stands_still(self, right: PausableServer) -> None:
        load = right.start_load(self.CELL, rate_per_s=40.0)
        time.sleep(1.0)
        assert load.finish().sample.answers < 0.8 * 40

    def test_each_turn_has_requests_at_the_rate_and_each_latency_its_true_length(self) -> None:
        """40 a second for twice 2 s are 160, +- 13; the server stands still between the turns."""
        with contender() as opened:
            load = opened.start_load(self.CELL, rate_per_s=40.0)
            for _ in range(2):
                load.turn(load.shortest_turn_s)
                must_stand_still(opened)
                time.sleep(2 * DELAY_S)
            record = load.finish()
        sample = record.sample
        in_turns_ms = [latency_ms for window_ms in sample.windows_ms for latency_ms in window_ms]
        assert len(sample.windows_ms) == 8
        assert 100 < len(in_turns_ms) < 230
        assert min(in_turns_ms) >= 1e3 * DELAY_S
        assert np.median(in_turns_ms) < 3e3 * DELAY_S
        assert sample.failures == ()
        assert sample.throughput_per_s == pytest.approx(40.0, rel=0.5)
        assert sample.telemetry is not None

    def test_two_servers_get_the_same_requests(self) -> None:
        """The stub answers after a fixed delay, so that the time of an answer tells when its request was due."""
        sent = []
        for _ in range(2):
            with contender() as opened:
                load = opened.start_load(self.CELL, rate_per_s=40.0)
                load.turn(1.0)
                sent.append([len(window_ms) for window_ms in load.finish().sample.windows_ms])
        assert sent[1] == pytest.approx(sent[0], abs=2)


def test_a_server_that_keeps_its_requests_grows() -> None:
    """The stub keeps a megabyte of each request; requests outside of the load don't count."""
    with contender("keeps") as opened:
        load = opened.start_load(CELL)
        load.turn(1.5)
        grew_bytes = load.finish().sample.grew_bytes_per_unit
    assert grew_bytes == pytest.approx(stub_server.KEPT_BYTES, rel=0.3)


def test_a_fresh_server_tells_its_memory_and_how_long_it_took_to_the_first_right_answer() -> None:
    service = HttpService(["{python}", stub_server.__file__])
    for mode, is_right in (("right", True), ("not-json", False)):
        target = HttpTarget("api", service, Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER))
        began_s = time.monotonic()
        with target.launch(Checkout("head", Path.cwd(), sys.executable)) as launched:
            launched.wait_until_ready()
            took_s = time.monotonic() - began_s
            record = launched.open(LoadEngine(processes=1)).record
        if is_right:
            assert record.start_s is not None
            assert DELAY_S < record.start_s <= took_s
        else:
            assert record.start_s is None
        assert record.memory_bytes is not None
        assert 5e6 < record.memory_bytes < 5e8


def test_wrong_answers_are_failures_of_the_record() -> None:
    with contender("sometimes-wrong") as opened:
        load = opened.start_load(CELL)
        for _ in range(4):
            load.burst(2 * DELAY_S)
        sample = load.finish().sample
    assert sample.failures[0] == "answer.predictions[0].label is 'Dog', expected 'Cat'"
    assert sample.rounds_s == ()


def test_a_server_that_dies_in_a_burst_is_an_error() -> None:
    with contender() as opened:
        load: ApiBurstLoad = opened.start_load(CELL)
        opened.server.process.resume()
        psutil.Process(opened.server.process.pid).kill()
        wait_until(lambda: opened.server.process.returncode is not None, "the server has ended")
        with pytest.raises(ProcessError, match=r"died while api\[concurrency=4\] was measured"):
            load.burst(0.1)


class TestDetails:
    """What a service says of itself, side by side."""

    def details(self, name: str, describe: Callable[[str], Mapping[str, str]]) -> Mapping[str, str]:
        service = HttpService(["{python}", stub_server.__file__], describe=describe)
        target = HttpTarget("api", service, Workload("/predict/right", b"{}", expected=stub_server.ANSWER))
        with target.launch(Checkout(name, Path.cwd(), sys.executable)) as launched:
            launched.wait_until_ready()
            ready = launched.open(LoadEngine(processes=1))
            assert ready.is_python
            return ready.details

    @pytest.mark.parametrize("name", ["base", "head"])
    def test_each_checkouts_own_process_is_asked(self, name: str) -> None:
        assert self.details(name, lambda url: {"is local": str("127.0.0.1" in url)}) == {"is local": "True"}

    def test_an_older_commit_may_not_know_the_question(self) -> None:
        def ask(url: str) -> Mapping[str, str]:
            raise KeyError(url)

        assert self.details("base", ask) == {}
        with pytest.raises(MeasurementError, match=r"`describe` of the service failed: KeyError"):
            self.details("head", ask)


class TestPausing:
    """How a server is paused, by the device that it says it computes on."""

    @pytest.mark.parametrize("has_gpu", [False, True])
    @pytest.mark.parametrize(
        ("details", "expected"),
        [
            ({"server device": "cpu"}, ON_CPU),
            ({"server device": "CPU"}, ON_CPU),
            ({"server device": "cuda"}, ON_GPU),
            ({"decoder device": "cpu", "model device": "cuda:1"}, ON_GPU),
        ],
    )
    def test_the_word_of_the_server_counts(
        self, details: Mapping[str, str], expected: Pausing, *, has_gpu: bool
    ) -> None:
        assert choose_pausing(details, has_gpu=has_gpu) == expected

    @pytest.mark.parametrize("details", [{}, {"server device": "unknown"}, {"server devices": "['cpu']"}])
    def test_a_server_that_says_nothing_is_on_the_gpu_if_there_is_one(self, details: Mapping[str, str]) -> None:
        assert choose_pausing(details, has_gpu=True) == ON_GPU
        assert choose_pausing(details, has_gpu=False) == ON_CPU

    @pytest.mark.parametrize(
        ("gpus", "said", "expected"),
        [
            ([], {}, ON_CPU),
            ([], {"stub device": "cpu"}, ON_CPU),
            ([StandInGpu()], {}, ON_GPU),
            ([StandInGpu()], {"stub device": "cuda"}, ON_GPU),
        ],
    )
    def test_a_fresh_server_is_paused_as_its_device_needs(
        self, nvml: StandInNvml, gpus: list[StandInGpu], said: Mapping[str, str], expected: Pausing
    ) -> None:
        """A real server, and NVML without a GPU."""
        nvml.have(*gpus)
        service = HttpService(["{python}", stub_server.__file__], describe=lambda _: said)
        target = HttpTarget("api", service, Workload("/predict/right", b"{}", expected=stub_server.ANSWER))
        with target.launch(Checkout("head", Path.cwd(), sys.executable)) as launched:
            launched.wait_until_ready()
            opened = launched.open(LoadEngine())
            assert isinstance(opened, PausableServer)
            assert opened.pausing == expected

"""Load in bursts on a real server that stands still between them."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegate.errors import ProcessError
from servegate.load.server_timing import StageSpan
from servegate.load.workload import Workload
from servegate.measure.bursts import (
    ApiBurstLoad,
    PausableServer,
    open_pausable_server,
    running_time,
    share_out,
    without_pauses,
)
from servegate.measure.samples import burst_record
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Telemetry
from unit_tests.builders import stub_server
from unit_tests.builders.samples import make_gauges
from unit_tests.builders.waiting import wait_until

CELL = Cell("api", "concurrency", 4)
DELAY_S = stub_server.DELAY_S
TELEMETRY = Telemetry(cpu_cores=1.0, gauges=make_gauges(), gpu=None)


@contextmanager
def contender(mode: str = "right") -> Iterator[PausableServer]:
    """On a server of its own: it is stopped and goes on all the time."""
    with ServerProcess([sys.executable, stub_server.__file__], cwd=Path.cwd(), ready_deadline_s=60.0) as server:
        workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER)
        with open_pausable_server(server, workload, 0.2) as opened:
            yield opened


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


def test_latency_is_the_time_in_which_the_server_could_run(right: PausableServer) -> None:
    """A pause of the server isn't its latency: one connection, whose requests are all paused for a second."""
    load = right.start_load(Cell("api", "concurrency", 1))
    for _ in range(4):
        load.burst(DELAY_S / 2)
        time.sleep(1.0)
    record = load.finish()
    assert record.sample.latency.p95_ms < 800


def test_stages_are_the_time_in_which_the_server_could_run() -> None:
    """As its latency: the one stage of the stub is all of its time, and its CPU time is what the stub says."""
    with contender("timed") as timed:
        load = timed.start_load(Cell("api", "concurrency", 1))
        for _ in range(4):
            load.burst(DELAY_S / 2)
            time.sleep(1.0)
        sample = load.finish().sample
    assert list(sample.stages) == ["sleep"]
    assert sample.stages["sleep"].cpu_ms == pytest.approx(0.25)
    assert 0.5 * sample.latency.mean_ms < sample.stages["sleep"].ms < sample.latency.mean_ms


def test_pauses_are_taken_out_of_stages() -> None:
    """One that began before a pause and ended after it, one within a burst, and one of which no end is known."""
    unix_s = time.time() - time.monotonic()
    ran_s = np.array([[10.0, 11.0], [20.0, 22.0]])
    over, within, unknown = (
        StageSpan("predict", 10.0, 0.1, 1, unix_s + 20.5),
        StageSpan("encode", 0.25, 0.1, 1, unix_s + 21.0),
        StageSpan("cache", 1.0, None, 1, None),
    )
    running = without_pauses([over, within, unknown], ran_s)
    assert [span.name for span in running] == ["predict", "encode"]
    assert [span.duration_s for span in running] == pytest.approx([1.0, 0.25], abs=1e-3)


def test_the_time_that_a_process_ran_stands_still_between_its_bursts() -> None:
    ran_s = np.array([[10.0, 11.0], [20.0, 22.0]])
    moments_s = np.array([10.0, 10.5, 11.0, 15.0, 20.0, 21.0, 22.0])
    assert running_time(moments_s, ran_s).tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 3.0]


def test_a_request_counts_by_the_share_of_its_time() -> None:
    """One before the first burst, one over the first edge by a quarter, one within, one over two bursts, one after."""
    began_s = np.array([-2.0, -3.0, 0.2, 0.5, 2.5])
    ended_s = np.array([-1.0, 1.0, 0.7, 1.5, 3.5])
    assert share_out(began_s, ended_s, np.array([0.0, 1.0, 2.0])) == pytest.approx([0.25 + 1.0 + 0.5, 0.5])


@given(
    concurrency=st.integers(1, 64),
    latency_s=st.floats(0.01, 2.0),
    burst_s=st.floats(0.05, 1.0),
    late=st.floats(0.0, 1.0),
)
def test_a_steady_load_counts_alike_in_every_burst(
    concurrency: int, latency_s: float, burst_s: float, late: float
) -> None:
    """However its answers come in batches: concurrency over latency, by Little's law, in each burst."""
    began_s = np.repeat((np.arange(-2, 10 / latency_s + 2) + late) * latency_s, concurrency)
    units = share_out(began_s, began_s + latency_s, np.arange(0.0, 10.0, burst_s))
    assert units == pytest.approx([concurrency * burst_s / latency_s] * len(units))


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


def test_a_burst_in_which_nothing_completed_adds_its_time_to_the_next() -> None:
    record = burst_record([4, 0, 8], [1.0, 1.0, 1.0], units_per_round=4, latencies_ms=[1.0], telemetry=[TELEMETRY])
    assert record.sample.rounds_s == (1.0, 1.0)
    assert record.sample.mean_throughput_per_s == 4.0

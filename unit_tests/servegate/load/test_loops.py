"""The two loops: held and told to go on; and the open one's random times, whose waiting isn't left out."""

import asyncio
import itertools
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import cast

import numpy as np
import pytest

from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.load.loops import ClosedLoop, Loop, OpenLoop, poisson_arrivals_s
from servegate.load.requests import Requester
from servegate.load.workload import Workload
from servegate.measure.cell_load import CellLoad
from servegate.measure.http.instruments import ServerInstrument
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import OpenLoopTarget
from servegate.processes.server import ServerProcess
from servegate.records import Cell
from unit_tests.builders import stub_server
from unit_tests.builders.load_jobs import run_clients
from unit_tests.builders.targets import make_conditions

LOAD_30 = Cell("latency", "load", 30)


def workload(mode: str) -> Workload:
    return Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER)


def test_arrivals_are_a_poisson_process() -> None:
    """Gaps between them have the mean 1/rate and, as an exponential distribution has, the same standard deviation."""
    arrivals_s = list(itertools.islice(poisson_arrivals_s(50.0, random.Random(1)), 20_000))
    gaps_s = np.diff([0.0, *arrivals_s])
    assert mean(gaps_s) == pytest.approx(1 / 50, rel=0.03)
    assert stdev(gaps_s) == pytest.approx(1 / 50, rel=0.03)


class SlowRequester:
    """Answers each request after a moment, and notes when it was due."""

    def __init__(self) -> None:
        self.due_s: list[float] = []
        self.restarted: list[int] = []
        self.answered = 0
        self.gave_up = asyncio.Event()

    def restart(self, turn: int) -> None:
        self.restarted.append(turn)

    async def send(self, since_s: float) -> None:
        self.due_s.append(since_s)
        await asyncio.sleep(0.1)
        self.answered += 1


def _run_turns(loop: Loop, turns: int, turn_s: float, between_s: float = 0.05) -> list[float]:
    """When each turn began."""
    began_s = []

    async def run() -> None:
        for _ in range(turns):
            began_s.append(time.monotonic())
            loop.go()
            await asyncio.sleep(turn_s)
            await loop.hold()
            await asyncio.sleep(between_s)

    asyncio.run(run())
    return began_s


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_a_loop_that_is_held_has_answered_everything_and_sends_nothing(kind: str) -> None:
    requester = cast("Requester", slow := SlowRequester())
    loop: Loop = OpenLoop(requester, 200.0, 0) if kind == "open" else ClosedLoop(requester, 4)
    first, second = _run_turns(loop, turns=2, turn_s=0.3, between_s=0.3)
    assert slow.answered == len(slow.due_s) > 8
    assert all(due_s < first + 0.3 + 0.25 or due_s >= second for due_s in slow.due_s)
    assert any(due_s >= second for due_s in slow.due_s)


def test_an_open_loop_sends_every_server_the_same_requests_at_the_same_times() -> None:
    """In each of its turns, however long those of before have lasted; and each process has times of its own."""
    times_s = []
    for number, first_turn_s in ((0, 0.2), (0, 0.3), (1, 0.2)):
        requester = SlowRequester()
        loop = OpenLoop(cast("Requester", requester), 100.0, number)
        _run_turns(loop, 1, first_turn_s)
        (began_s,) = _run_turns(loop, 1, 0.2)
        second = [due_s for due_s in requester.due_s if due_s >= began_s]
        assert requester.restarted == [1, 2]
        times_s.append([due_s - second[0] for due_s in second][:10])
    one, again, other = times_s
    assert len(one) == 10
    assert again == pytest.approx(one)
    assert other != pytest.approx(one)


def test_an_open_loop_that_gave_up_sends_nothing_more() -> None:
    requester = SlowRequester()
    requester.gave_up.set()
    _run_turns(OpenLoop(cast("Requester", requester), 200.0, 0), 1, 0.2)
    assert requester.due_s == []


def test_an_open_load_lasts_until_its_end_without_an_arrival(stub: ServerProcess) -> None:
    """Else a process with a share of the load would end early, and cut what the others measure."""
    job = LoadJob(stub.url, workload("right"), 4, warmup_s=0.0, measure_s=0.6, rate_per_s=1e-3)
    with LoadEngine(processes=1).start() as clients:
        clients.measure(job)
        began_s = time.monotonic()
        result = clients.read_result(job)
        assert time.monotonic() - began_s >= 0.5
    assert (result.latencies_ms, result.failures) == ([], [])


@pytest.mark.parametrize("processes", [1, 2])
def test_arrivals_do_not_wait_for_answers(stub: ServerProcess, processes: int) -> None:
    """At 40 a second and 0.15 s an answer some 6 requests are on the way at a time, and none waits for another.

    Two processes share the rate.
    """
    job = LoadJob(stub.url, workload("right"), 64, warmup_s=0.2, measure_s=2.0, rate_per_s=40.0)
    result = run_clients(job, processes)
    assert result.failures == []
    assert 40 < len(result.latencies_ms) < 130  # 80 +- 5 standard deviations
    assert np.median(result.latencies_ms) < 3 * stub_server.DELAY_S * 1e3
    assert len(result.client_cores) == processes
    assert all(0 < cores < 0.9 for cores in result.client_cores)


def test_waiting_for_a_free_connection_counts(stub: ServerProcess) -> None:
    """One connection answers 6.7 a second, 20 come: the last ones wait for seconds, and their latency says so."""
    result = run_clients(LoadJob(stub.url, workload("right"), 1, warmup_s=0.0, measure_s=1.5, rate_per_s=20.0))
    waited_for_all_before_ms = (len(result.latencies_ms) * stub_server.DELAY_S - 1.5) * 1e3
    assert len(result.latencies_ms) > 10
    assert max(result.latencies_ms) >= waited_for_all_before_ms - 50


def test_requests_of_the_warm_up_are_left_out(stub: ServerProcess) -> None:
    """Of 1.5 s at 40 a second the last third counts."""
    result = run_clients(LoadJob(stub.url, workload("right"), 64, warmup_s=1.0, measure_s=0.5, rate_per_s=40.0))
    assert 2 < len(result.latencies_ms) < 45  # 20 +- 5 standard deviations; all would be 60


def test_wrong_answers_end_the_load(stub: ServerProcess) -> None:
    """It was to last an hour."""
    result = run_clients(LoadJob(stub.url, workload("sometimes-wrong"), 64, 0.0, 3600.0, rate_per_s=60.0))
    assert len(result.failures) >= 5
    assert result.rounds_s == []


class TestOpenLoopProcessByProcess:
    """A cell's value is a share of what the server can do."""

    def test_the_rate_is_the_cells_share_of_the_capacity(self, stub: ServerProcess) -> None:
        """Four connections to a server that takes 0.15 s for each are at most 27 a second; 8, +- 2, are sent."""
        with LoadEngine().start() as clients:
            load = CellLoad(workload("right"), 4, percent_of_capacity=30.0)
            sample = ServerInstrument(stub, clients, lambda _: load, 0.2, details={}).measure(LOAD_30, 3.0)
        assert sample.failures == ()
        assert sample.mean_throughput_per_s == pytest.approx(0.3 * 4 / stub_server.DELAY_S, rel=0.7)
        assert sample.latency.p95_ms >= sample.latency.p50_ms >= stub_server.DELAY_S * 1e3 - 5

    def test_its_target_is_loaded_by_the_built_in_client_with_as_many_processes(self, stub: ServerProcess) -> None:
        """Also where Locust makes the load of closed loops."""
        service = HttpService(["the stub"], session_fixture="stub")
        target = OpenLoopTarget("latency", service, workload("right"), saturating_concurrency=4)
        conditions = replace(
            make_conditions(engine=LoadEngine("locust", workers=2, processes=2)), session_server=lambda _: stub
        )
        with target.open(conditions) as instrument:
            sample = instrument.measure(LOAD_30, 3.0)
        assert sample.failures == ()
        assert len(sample.client_cores) == 2

    def test_wrong_answers_while_finding_the_capacity_are_reported(self) -> None:
        command = [sys.executable, stub_server.__file__]
        with (
            ServerProcess(command, cwd=Path.cwd(), ready_deadline_s=60.0) as server,
            LoadEngine().start() as clients,
        ):
            load = CellLoad(workload("sometimes-500"), 2, percent_of_capacity=30.0)
            sample = ServerInstrument(server, clients, lambda _: load, 0.1, details={}).measure(LOAD_30, 60.0)
        assert sample.failures[0] == "status 500: no memory left"
        assert sample.rounds_s == ()

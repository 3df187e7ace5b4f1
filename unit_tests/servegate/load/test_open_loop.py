"""Open-loop load: random times that the answers don't change, and waiting that isn't left out."""

import asyncio
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
from servegate.load.open_loop import poisson_arrivals_s, send_at_random
from servegate.load.requests import Requester
from servegate.load.workload import Workload
from servegate.measure.http_instruments import OpenLoopInstrument, ServerInstrument
from servegate.measure.http_service import HttpService
from servegate.measure.http_targets import OpenLoopTarget
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
    arrivals_s = list(poisson_arrivals_s(50.0, 400.0, random.Random(1)))
    gaps_s = np.diff([0.0, *arrivals_s])
    assert arrivals_s[-1] < 400.0
    assert mean(gaps_s) == pytest.approx(1 / 50, rel=0.03)
    assert stdev(gaps_s) == pytest.approx(1 / 50, rel=0.03)


class EarlyArrivals(random.Random):
    """All arrivals come at once, and then none for an hour."""

    def __init__(self, count: int) -> None:
        super().__init__(0)
        self._gaps_s = iter([0.0] * count + [3600.0])

    def expovariate(self, lambd: float = 1.0) -> float:
        return next(self._gaps_s)


class CountingRequester:
    """Answers each request at once."""

    def __init__(self) -> None:
        self.sent = 0
        self.gave_up = asyncio.Event()

    async def send(self, since_s: float) -> None:
        self.sent += 1


@pytest.mark.parametrize("count", [0, 3])
def test_a_load_lasts_until_its_end_without_further_arrivals(count: int) -> None:
    """Else a process with a share of the load would end early, and cut what the others measure."""
    requester, began_s = CountingRequester(), time.monotonic()

    async def send() -> None:
        await asyncio.gather(
            *await send_at_random(cast("Requester", requester), 10.0, 0.3, EarlyArrivals(count)),
        )

    asyncio.run(send())
    assert time.monotonic() - began_s >= 0.3
    assert requester.sent == count


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


class TestOpenLoopInstrument:
    """A cell's value is a share of what the server can do."""

    def test_the_rate_is_the_cells_share_of_the_capacity(self, stub: ServerProcess) -> None:
        """Four connections to a server that takes 0.15 s for each are at most 27 a second; 8, +- 2, are sent."""
        with LoadEngine().start() as clients:
            server = ServerInstrument(stub, clients, lambda _: (workload("right"), 4), 0.2, details={"a": "b"})
            instrument = OpenLoopInstrument(server)
            sample = instrument.measure(LOAD_30, 3.0)
        assert instrument.details == {"a": "b"}
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
            instrument = ServerInstrument(server, clients, lambda _: (workload("sometimes-500"), 2), 0.1, details={})
            sample = OpenLoopInstrument(instrument).measure(LOAD_30, 60.0)
        assert sample.failures[0] == "status 500: no memory left"
        assert sample.rounds_s == ()

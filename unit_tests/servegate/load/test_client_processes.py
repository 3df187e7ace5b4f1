"""Several client processes on one real server: they share its load, and give one record."""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from servegate.errors import ProcessError
from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.load.workload import WeightedSet, Workload
from servegate.processes.local_http import open_local
from servegate.processes.server import ServerProcess
from unit_tests.builders import stub_server
from unit_tests.builders.load_jobs import job_for, run_clients
from unit_tests.builders.waiting import wait_until

TWO = LoadEngine(processes=2)


@dataclass(frozen=True)
class Seen:
    """The record of a server: the bodies that each connection has sent, and the number of requests in flight."""

    sent: list[list[str]]
    in_flight: int

    @property
    def requests(self) -> int:
        return sum(map(len, self.sent))


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A fresh server, which has seen nothing yet."""
    with ServerProcess([sys.executable, stub_server.__file__], cwd=Path.cwd(), ready_deadline_s=60.0) as running:
        yield running


def ask(server: ServerProcess) -> Seen:
    with open_local(f"{server.url}/seen", timeout=10) as answer:
        return Seen(**json.load(answer))


def endless(server: ServerProcess, concurrency: int = 3) -> LoadJob:
    """A load that goes on until it is stopped."""
    return replace(job_for(server, "right", concurrency=concurrency), measure_s=None)


def client_processes() -> list[psutil.Process]:
    """Those that this test has started."""
    return [child for child in psutil.Process().children() if "servegate.load.client" in child.cmdline()]


def test_the_record_has_every_request_of_every_process_once(server: ServerProcess) -> None:
    """Between two holds, which drain all connections, the server sees as many requests as the record has."""
    with TWO.start() as clients:
        clients.measure(endless(server))
        clients.hold()
        before, held_s = ask(server), time.monotonic()
        clients.go()
        wait_until(lambda: ask(server).requests >= before.requests + 9, "nine requests more")
        clients.hold()
        after = ask(server)
        record = clients.stop()
    assert (before.in_flight, after.in_flight) == (0, 0)
    assert len(before.sent) == 3
    at_s = [item.at_s for item in record.completions]
    assert sum(moment_s > held_s for moment_s in at_s) == after.requests - before.requests
    assert at_s == sorted(at_s)
    assert (record.failures, len(record.clients)) == ([], 2)


def test_hold_and_go_are_for_all_processes(server: ServerProcess) -> None:
    with TWO.start() as clients:
        clients.measure(endless(server))
        for _ in range(3):
            clients.hold()
            held = ask(server)
            assert held.in_flight == 0
            clients.go()
            wait_until(lambda: ask(server).in_flight == 3, "all connections are loaded again")
        clients.stop()
    assert ask(server).in_flight == 0


def test_throughput_is_that_of_all_connections(server: ServerProcess) -> None:
    """Five connections that each wait for the same delay, by Little's law; all began to measure at a time."""
    result = run_clients(job_for(server, "right", concurrency=5, measure_s=1.5), processes=2)
    assert (result.failures, result.requests_per_round % 5) == ([], 0)
    throughput_per_s = result.requests_per_round / float(np.median(result.rounds_s))
    assert throughput_per_s == pytest.approx(5 / (np.median(result.latencies_ms) / 1e3), rel=0.15)
    assert 0.5 * 5 / stub_server.DELAY_S < throughput_per_s < 1.05 * 5 / stub_server.DELAY_S
    assert len(result.client_cores) == 2
    assert all(0 < cores < 0.9 for cores in result.client_cores)
    assert len(ask(server).sent) == 5


def test_a_load_of_fewer_connections_leaves_processes_idle(server: ServerProcess) -> None:
    """And the next job may need them all."""
    with TWO.start() as clients:
        for concurrency in (1, 2):
            job = job_for(server, "right", concurrency=concurrency)
            clients.measure(job)
            assert len(clients.read_result(job).client_cores) == concurrency


def test_each_process_has_a_fixed_order_of_its_own(server: ServerProcess) -> None:
    """Else all would send the same request of a set at the same time; the order is the same for both arms."""
    echo = Workload("/predict/echo", b"a", {"Content-Type": "x/y"}, {"body": "a", "type": "x/y"})
    other = replace(echo, body=b"b", expected={"body": "b", "type": "x/y"})
    requests = WeightedSet([(1, echo), (1, other)])
    run_clients(LoadJob(server.url, requests, 2, warmup_s=0.0, measure_s=0.5), processes=2)
    sent = sorted("".join(bodies) for bodies in ask(server).sent)
    orders = ["".join(part.body.decode() for part in itertools.islice(requests.order(f"{i}"), 200)) for i in range(2)]
    assert min(map(len, sent)) >= 3
    assert orders[0][:3] != orders[1][:3]
    assert all(order.startswith(one) for order, one in zip(sorted(orders), sent, strict=True))


def test_wrong_answers_to_any_process_are_failures(server: ServerProcess) -> None:
    result = run_clients(job_for(server, "not-json", measure_s=3600.0), processes=2)
    assert len(result.failures) == 2 * 5
    assert result.rounds_s == []


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_dies_ends_the_load_with_its_status(server: ServerProcess, place: int) -> None:
    with TWO.start() as clients:
        clients.measure(endless(server))
        doomed = client_processes()[place]
        doomed.kill()
        with pytest.raises(ProcessError, match=r"load client [12] of 2 ended with status -9"):
            clients.hold()
    assert client_processes() == []


def test_one_that_dies_while_a_result_is_waited_for_is_an_error_too(server: ServerProcess) -> None:
    job = job_for(server, "right", measure_s=1.0)
    with TWO.start() as clients:
        clients.measure(job)
        client_processes()[1].kill()
        with pytest.raises(ProcessError, match=r"load client [12] of 2 ended with status -9"):
            clients.read_result(job)

"""The supervisor replaces workers that end or hang, outlives its own errors, and reaps while the server stops."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from service.transport import supervision
from service.transport.request_table import _WAITING, RequestTable
from service.transport.supervision import WorkerSupervisor
from unit_tests.builders.waiting import wait_until

_API = SimpleNamespace(api_path="/predict")


def _table(*, workers: int = 1, processes: int = 1) -> RequestTable:
    return RequestTable(1, slots=1, processes=processes, labels=2, devices=1, workers_per_device=workers)


def _sleep(table: RequestTable, worker: int) -> None:
    """Let the worker sleep, as it does while no request is queued."""
    table.collect(worker)
    table.wait(worker, 0.0)
    table._workers[worker] = _WAITING


def _process(*, is_alive: bool) -> SimpleNamespace:
    return SimpleNamespace(is_alive=lambda: is_alive, exitcode=None if is_alive else -9)


class _Server:
    """Its workers wait for a while, finish so many batches each, and have ended in the next one at the first look.

    A negative number of batches stands for a worker that the system has no process for.
    """

    lit_api = _API
    http_processes: tuple[SimpleNamespace, ...] = ()

    def __init__(self, table: RequestTable, finished: list[int]) -> None:
        self._table, self._finished = table, iter(finished)
        self.workers_setup_status = {"predict_0": "ready", "predict_1": "ready"}
        self.inference_workers = [self.launch_single_inference_worker(_API, 0)]

    def launch_single_inference_worker(self, api: SimpleNamespace, worker: int) -> SimpleNamespace:
        assert api is _API
        finished = next(self._finished, 0)
        if finished < 0:
            raise BlockingIOError("no process is free")
        self._table.collect(worker)
        self._table.wait(worker, 0.0)
        for _ in range(finished + 1):
            self._table.collect(worker)
            self._table.work(worker)
        return _process(is_alive=False)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that the supervisor sends to this process, which doesn't get them."""
    sent: list[int] = []
    monkeypatch.setattr(
        supervision, "os", SimpleNamespace(getpid=os.getpid, kill=lambda _, number: sent.append(number))
    )
    return sent


@pytest.fixture
def _slow_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is later than the longest pause."""
    clock_s = count(step=60)
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: float(next(clock_s))))


@pytest.mark.usefixtures("_slow_looks")
def test_a_worker_that_follows_one_without_a_finished_batch_starts_ever_later(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that ends in its first batch would otherwise be replaced without a pause for ever."""
    table = _table(workers=2)
    supervisor = WorkerSupervisor(_Server(table, [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]), table, 30.0, 30.0)
    for _ in range(26):
        supervisor._look(0.1)
    pauses = [message.rpartition("a new one starts in ")[2] for message in caplog.messages]
    assert pauses[:11] == [f"{pause} s" for pause in (0, 1, 3, 7, 0, 1, 3, 7, 15, 30, 30)]


@pytest.mark.usefixtures("_slow_looks")
def test_a_worker_that_cannot_be_started_is_tried_again_ever_later(
    caplog: pytest.LogCaptureFixture, signals: list[int]
) -> None:
    """The other workers go on; the system may have a process for this one later."""
    table = _table(workers=2)
    server = _Server(table, [1, -1, -1, -1, 0])
    supervisor = WorkerSupervisor(server, table, 30.0, 30.0)
    [ended] = server.inference_workers
    for _ in range(3):
        supervisor._look(0.1)
    assert caplog.messages == [
        "worker 0 has ended with status -9; a new one starts in 0 s",
        *(f"worker 0 could not be started: no process is free; the next try is in {pause} s" for pause in (1, 3, 7)),
    ]
    assert server.inference_workers == [ended]
    supervisor._look(0.1)
    assert server.inference_workers != [ended]
    assert (supervisor.failure, signals) == (None, [])


def test_while_no_other_worker_has_started_health_says_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """LitServe says so only when the next one starts, which may be half a minute later."""
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: 0.0))
    table = _table(workers=2)
    server = _Server(table, [0, -1])
    WorkerSupervisor(server, table, 30.0, 30.0)._look(0.1)
    assert server.workers_setup_status == {"predict_0": "starting", "predict_1": "ready"}


class _Living:
    """A worker's process that can be killed, and takes its time to end."""

    exitcode = None

    def __init__(self) -> None:
        self.kills = 0

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        self.kills += 1


def _server(*workers: Any, http_processes: tuple[Any, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(
        inference_workers=list(workers), http_processes=http_processes, workers_setup_status={}, lit_api=_API
    )


def test_only_the_time_in_a_batch_counts_as_silence() -> None:
    """A worker sleeps for longer than its timeout, and its first batch isn't charged for that."""
    table, worker = _table(), _Living()
    supervisor = WorkerSupervisor(_server(worker), table, worker_timeout_s=1.0, start_timeout_s=30.0)
    for _ in range(2):
        _sleep(table, 0)
        supervisor._look(50.0)
        table.collect(0)
        table.work(0)
        supervisor._look(50.0)
        supervisor._look(0.9)
        assert worker.kills == 0
    supervisor._look(0.2)
    supervisor._look(0.9)
    assert worker.kills == 1, "it was killed, and killed once for one silence"


def test_a_worker_that_hangs_while_it_loads_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    """The other one serves."""
    table, serving, loading = _table(workers=2), _Living(), _Living()
    supervisor = WorkerSupervisor(_server(serving, loading), table, worker_timeout_s=1.0, start_timeout_s=30.0)
    _sleep(table, 0)
    supervisor._look(50.0)  # it may have begun just before
    supervisor._look(29.0)
    assert loading.kills == 0
    supervisor._look(2.0)
    supervisor._look(2.0)
    assert (serving.kills, loading.kills) == (0, 1)
    assert caplog.messages == ["worker 1 was not ready within 30 s (--start-timeout-s): killed"]


def test_a_worker_in_the_place_of_another_has_the_whole_time_to_load() -> None:
    """And as long as it likes afterwards."""
    table, loading = _table(workers=2), _Living()
    server = _server(_Living(), loading)
    server.launch_single_inference_worker = lambda *_: loading
    supervisor = WorkerSupervisor(server, table, worker_timeout_s=1.0, start_timeout_s=30.0)
    _sleep(table, 0)
    for passed_s in (0.5, 29.0):
        supervisor._look(passed_s)
    server.inference_workers[1] = _process(is_alive=False)
    supervisor._look(0.5)
    assert server.inference_workers[1] is loading
    for passed_s in (0.5, 29.0):
        supervisor._look(passed_s)
    _sleep(table, 1)
    for passed_s in (0.5, 50.0):
        supervisor._look(passed_s)
    assert loading.kills == 0


def test_the_time_before_the_first_worker_was_ready_does_not_count_for_the_others() -> None:
    """The server's own limit holds then."""
    table, loading = _table(workers=2), _Living()
    supervisor = WorkerSupervisor(_server(_Living(), loading), table, worker_timeout_s=1.0, start_timeout_s=30.0)
    for passed_s in (0.5, 29.0):
        supervisor._look(passed_s)
    _sleep(table, 0)
    for passed_s in (0.5, 29.0):
        supervisor._look(passed_s)
    assert loading.kills == 0
    assert supervisor.failure is None


def test_before_the_first_worker_is_ready_the_server_has_one_limit_for_all(signals: list[int]) -> None:
    """It stops then, with the reason, and kills none of them."""
    table, workers = _table(workers=2), [_Living(), _Living()]
    supervisor = WorkerSupervisor(_server(*workers), table, worker_timeout_s=1.0, start_timeout_s=30.0)
    for _ in range(3):
        assert supervisor.failure is None
        supervisor._look(15.0)
    assert supervisor.failure == "no worker was ready within 30 s (--start-timeout-s)"
    assert signals == [signal.SIGTERM]
    assert [worker.kills for worker in workers] == [0, 0]


def test_an_http_process_that_was_killed_has_no_requests_any_more(signals: list[int]) -> None:
    """It can't say so itself; the workers would stay for it."""
    table = _table(processes=2)
    for number in range(2):
        table.open(number, is_open=True)
    http_processes = (_process(is_alive=True), _process(is_alive=False))
    supervisor = WorkerSupervisor(_server(http_processes=http_processes), table, 30.0, 30.0)
    supervisor._look(0.1)
    assert (supervisor.failure, signals) == ("an HTTP process has ended", [signal.SIGTERM])
    assert table.is_open
    table.open(0, is_open=False)
    assert not table.is_open


@contextmanager
def _running(supervisor: WorkerSupervisor) -> Iterator[None]:
    """The supervisor's thread runs."""
    supervisor.start()
    try:
        yield
    finally:
        supervisor.end()


def test_an_error_of_the_supervisor_stops_the_server_and_not_its_thread(
    signals: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """The workers that it has started end with the thread, and have requests in flight."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("no reason")

    table = _table()
    _sleep(table, 0)
    server = _server(_process(is_alive=False))
    server.launch_single_inference_worker = fail
    supervisor = WorkerSupervisor(server, table, worker_timeout_s=0.05, start_timeout_s=30.0)
    with _running(supervisor):
        wait_until(lambda: signals == [signal.SIGTERM], "it stops the server")
        assert supervisor.failure == "its processes can't be looked after: ZeroDivisionError('no reason')"
        assert "Traceback" in caplog.text
        table.open(0, is_open=True)
        _sleep(table, 0)
        wait_until(lambda: not table.is_present(0), "it looks at the workers all the same")
    assert signals == [signal.SIGTERM]


def test_a_worker_that_ends_while_the_server_stops_is_reaped_and_not_replaced() -> None:
    """HTTP processes ask the kernel whether a worker is alive, and the kernel says so of one that is not reaped."""
    worker: Any = get_context("spawn").Process(target=os._exit, args=(3,))
    worker.start()
    wait_until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE, "it has ended")
    table = _table()
    _sleep(table, 0)
    table.open(0, is_open=True)
    supervisor = WorkerSupervisor(_server(worker), table, worker_timeout_s=0.05, start_timeout_s=30.0)
    supervisor.stop()
    with _running(supervisor):
        wait_until(lambda: not table.is_present(0), "it is noted")
        assert not psutil.pid_exists(worker.pid)


class _ClosedTable:
    """No HTTP process has requests any more; counts how often that is asked."""

    def __init__(self) -> None:
        self.looks = 0

    @property
    def is_open(self) -> bool:
        self.looks += 1
        return False


def test_no_worker_is_reaped_once_litserve_joins_the_workers() -> None:
    """When no HTTP process has requests any more: of two threads that reap a process one would take it for alive."""
    table, worker = _ClosedTable(), SimpleNamespace(is_alive=lambda: pytest.fail("it is reaped"))
    supervisor = WorkerSupervisor(_server(worker), table, worker_timeout_s=0.05, start_timeout_s=30.0)  # type: ignore[arg-type]
    supervisor.stop()
    with _running(supervisor):
        wait_until(lambda: table.looks > 1, "it has looked")

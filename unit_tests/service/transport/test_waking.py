"""Which worker a request wakes: the one that worked last, of the device with the fewest awake, and no other twice."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import pytest

from service.transport.request_table import _WAITING, RequestTable
from unit_tests.builders.waiting import wait_until

_SPAWN = get_context("spawn")
_WORKERS_PER_DEVICE = 3


def _table(*, slots: int = 2, devices: int = 1) -> RequestTable:
    return RequestTable(1, slots, processes=1, labels=2, devices=devices, workers_per_device=_WORKERS_PER_DEVICE)


def _queue(table: RequestTable, count: int) -> None:
    for _ in range(count):
        slot = table.arrive(0)
        assert slot is not None
        table.queue(slot, np.zeros((1, 1, 3), np.uint8))


def test_a_waiting_worker_wakes_when_something_is_queued() -> None:
    """Long before its time is over."""
    table = _table()
    worker = _SPAWN.Process(target=table.wait, args=(1, 600.0), daemon=True)
    worker.start()
    wait_until(lambda: table.free_workers == 1, "it waits")
    _queue(table, 1)
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


def test_a_sleeping_worker_can_be_roused_without_a_request() -> None:
    table = _table()
    worker = _SPAWN.Process(target=table.wait, args=(1, 600.0), daemon=True)
    worker.start()
    wait_until(lambda: table.free_workers == 1, "it waits")
    table.rouse(1)
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


class _Wakeup:
    """Stands in for a worker's semaphore: the worker sleeps until the test ends, and is slow to wake up."""

    def __init__(self, worker: int, released: list[int]) -> None:
        self._worker, self._released, self._ended = worker, released, threading.Event()

    def acquire(self, timeout: float) -> bool:
        return self._ended.wait(timeout)

    def release(self) -> None:
        self._released.append(self._worker)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def _asleep(table: RequestTable, workers: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Workers that sleep, and the list of those that are woken meanwhile."""
    released: list[int] = []
    wakeups = [_Wakeup(worker, released) for worker in range(len(table._wakeups))]
    monkeypatch.setattr(table, "_wakeups", wakeups)
    threads = [threading.Thread(target=table.wait, args=(worker, 60.0), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    wait_until(lambda: np.count_nonzero(table._workers == _WAITING) == len(workers), "all of them sleep")
    yield released
    for wakeup in wakeups:
        wakeup.end()
    for thread in threads:
        thread.join(60)


def test_the_worker_that_worked_last_wakes_first_and_each_request_wakes_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that are woken need not have run yet."""
    table = _table(slots=4)
    for worker in (1, 2, 0):
        table.work(worker)
    with _asleep(table, [0, 1, 2], monkeypatch) as released:
        _queue(table, 4)
        assert released == [0, 2, 1]


def test_an_idle_device_gets_the_next_request_though_its_workers_worked_longer_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers 0, 2 and 4 compute on the first device, the others on the second."""
    table = _table(slots=4, devices=2)
    for worker in (1, 3, 5, 4, 0, 2):
        table.work(worker)
    with _asleep(table, range(6), monkeypatch) as released:
        _queue(table, 4)
        assert released == [2, 5, 0, 3]


def test_a_worker_that_has_been_replaced_has_nothing_in_its_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table()
    table.work(0)
    table.work(1)
    table.leave(1)
    with _asleep(table, [0, 1], monkeypatch) as released:
        _queue(table, 1)
        assert released == [0]


def test_a_worker_that_waits_again_is_woken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table()
    for _ in range(2):
        with _asleep(table, [0], monkeypatch) as released:
            _queue(table, 1)
            assert released == [0]
        table.take(1)


def test_a_worker_that_sleeps_owes_no_heartbeat_until_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sleeps for longer than a hanging worker has; one that was woken and doesn't come hangs."""
    table = _table()
    table.collect(0)
    with _asleep(table, [0], monkeypatch):
        assert table.heartbeats(0) is None
        _queue(table, 1)
        assert table.heartbeats(0) == 1


def test_what_a_worker_was_woken_for_when_it_ended_wakes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table()
    table.work(1)
    with _asleep(table, [0, 1], monkeypatch) as released:
        _queue(table, 1)
        table.leave(1)
        assert released == [1, 0]
        table.take(1)
        table.leave(0)
        assert released == [1, 0]


def test_a_worker_does_not_wait_beside_a_queued_request() -> None:
    """It was queued before anybody waited, so nobody was woken for it."""
    table = _table()
    _queue(table, 1)
    worker = _SPAWN.Process(target=table.wait, args=(1, 600.0), daemon=True)
    worker.start()
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


def test_without_a_queued_request_nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    table = _table()
    with _asleep(table, [0, 1], monkeypatch) as released:
        table.work(2)
        table.leave(2)
        assert released == []

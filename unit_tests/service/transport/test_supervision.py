"""The supervisor replaces a worker at once, or after a pause that grows while no worker finishes a batch."""

from itertools import count
from types import SimpleNamespace

import pytest

from service.transport import supervision
from service.transport.request_table import _WAITING, RequestTable
from service.transport.supervision import WorkerSupervisor


class _Server:
    """Its workers wait for a while, finish so many batches each, and have ended in the next one at the first look."""

    lit_api = None
    http_processes = ()

    def __init__(self, table: RequestTable, finished: list[int]) -> None:
        self._table, self._finished = table, iter(finished)
        self.inference_workers = [self.launch_single_inference_worker(None, 0)]

    def launch_single_inference_worker(self, api: None, worker: int) -> SimpleNamespace:
        self._table.collect(worker)
        self._table.wait(worker, 0.0)
        for _ in range(next(self._finished, 0) + 1):
            self._table.collect(worker)
            self._table.work(worker)
        return SimpleNamespace(is_alive=lambda: False, exitcode=-6)


def test_a_worker_that_follows_one_without_a_finished_batch_starts_ever_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that ends in its first batch would otherwise be replaced without a pause for ever."""
    clock_s = count(step=60)  # each look is later than the longest pause
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: float(next(clock_s))))
    table = RequestTable(1, slots=1, processes=1, labels=2, devices=1, workers_per_device=2)
    supervisor = WorkerSupervisor(_Server(table, [1, 0, 0, 0, 2, 0, 0]), table, 30.0, 30.0)
    for _ in range(20):
        supervisor._look(0.1)
    pauses = [message.rpartition("a new one starts in ")[2] for message in caplog.messages]
    assert pauses[:7] == ["0 s", "1 s", "3 s", "7 s", "0 s", "1 s", "3 s"]


class _Hanging:
    """A worker's process that can be killed, and takes its time to end."""

    exitcode = None

    def __init__(self) -> None:
        self.kills = 0

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        self.kills += 1


def test_only_the_time_in_a_batch_counts_as_silence() -> None:
    """A worker sleeps for longer than its timeout, and its first batch isn't charged for that."""
    table = RequestTable(1, slots=1, processes=1, labels=2, devices=1, workers_per_device=1)
    worker = _Hanging()
    server = SimpleNamespace(inference_workers=[worker], http_processes=())
    supervisor = WorkerSupervisor(server, table, worker_timeout_s=1.0, start_timeout_s=30.0)
    for _ in range(2):
        table.collect(0)
        table.wait(0, 0.0)
        table._workers[0] = _WAITING
        supervisor._look(50.0)
        table.collect(0)
        table.work(0)
        supervisor._look(50.0)
        supervisor._look(0.9)
        assert worker.kills == 0
    supervisor._look(0.2)
    supervisor._look(0.9)
    assert worker.kills == 1, "it was killed, and killed once for one silence"

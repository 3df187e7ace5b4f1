"""A batch is closed when nobody else is on the way, each free worker gets its share, and no worker leaves too early."""

import signal
import time
from functools import cache
from multiprocessing import get_context
from queue import Queue
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from fastapi import Response
from litserve import LitAPI

from service.app import build_server
from service.images import Pixels
from service.predictions import Probabilities
from service.settings import load_settings
from service.stages import BatchStages
from service.transport import batching
from service.transport.batching import FairShareLoop
from service.transport.request_table import RequestTable
from service.transport.table_transport import TableTransport
from unit_tests.builders.waiting import wait_until

_NEVER_S = "9"
"""A batch window in seconds that a test would notice: it is only waited out where the test says so."""
_PIXELS = np.zeros((16, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def short_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle worker looks up soon."""
    monkeypatch.setattr(batching, "_IDLE_S", 0.2)


@cache
def _api(batch_timeout_s: str) -> LitAPI:
    # FastAPI keeps the endpoints of every application, and with them each server's open files: one for all tests.
    flags = ["--max-batch-size", "8", "--batch-timeout-s", batch_timeout_s]
    api: LitAPI = build_server(load_settings(flags, "unit_tests")).lit_api
    return api


class _Collector:
    """A worker's loop with the table that it takes its requests from."""

    def __init__(self, *, batch_timeout_s: str = _NEVER_S) -> None:
        self.api = _api(batch_timeout_s)
        self.table = RequestTable(16, slots=16, processes=2, labels=2, devices=1, workers_per_device=10)
        self.loop = FairShareLoop(self.table)

    def arrive(self, count: int, process: int = 0) -> list[int]:
        """Requests that have been let in and are still decoded."""
        slots = [self.table.arrive(process) for _ in range(count)]
        return [slot for slot in slots if slot is not None]

    def queue(self, count: int, process: int = 0) -> list[int]:
        """Requests that a worker can take."""
        slots = self.arrive(count, process)
        for slot in slots:
            self.table.queue(slot, _PIXELS)
        return slots

    def collect(self) -> list[int]:
        """The slots of the next batch."""
        return self.loop.next_batch(self.api)


def _collect_early(collector: _Collector) -> list[int]:
    """What is collected without the batch window being waited out."""
    start_s = time.monotonic()
    collected = collector.collect()
    assert time.monotonic() - start_s < float(_NEVER_S)
    return collected


def test_a_single_request_does_not_wait_for_company() -> None:
    """Nobody else is on the way: its batch is closed at once."""
    collector = _Collector()
    [slot] = collector.queue(1)
    assert _collect_early(collector) == [slot]
    assert collector.table.in_sight == 0


def test_all_that_is_there_goes_together_the_oldest_first() -> None:
    """One free worker takes all, whichever HTTP process has them."""
    collector = _Collector()
    slots = [*collector.queue(1, process=1), *collector.queue(2), *collector.queue(2, process=1)]
    assert _collect_early(collector) == slots


def test_a_batch_is_never_larger_than_allowed() -> None:
    """The rest stays for the next one."""
    collector = _Collector()
    first, rest = collector.queue(8), collector.queue(3, process=1)
    assert _collect_early(collector) == first
    assert collector.table.in_sight == 3
    assert _collect_early(collector) == rest


@pytest.mark.parametrize(("others", "share"), [(0, 5), (1, 3), (2, 2), (4, 1), (9, 1)])
def test_other_free_workers_get_their_share(others: int, share: int) -> None:
    """Of five requests each of n free workers takes a fifth, a third, half: rounded up, one at least."""
    collector = _Collector()
    for worker in range(1, 1 + others):
        collector.table.collect(worker)
    collector.queue(5)
    assert len(_collect_early(collector)) == share
    assert collector.table.in_sight == 5 - share


def test_a_busy_worker_gets_no_share() -> None:
    """What it can't take now is not left for it."""
    collector = _Collector()
    collector.table.collect(1)
    collector.table.work(1)
    slots = collector.queue(2)
    assert _collect_early(collector) == slots


def test_a_request_that_is_still_decoded_is_waited_for_up_to_the_window() -> None:
    """One in the queue, one on the way that never comes: the window closes the batch."""
    collector = _Collector(batch_timeout_s="0.2")
    [slot], _ = collector.queue(1), collector.arrive(1)
    start_s = time.monotonic()
    assert collector.collect() == [slot]
    assert time.monotonic() - start_s >= 0.2


def test_a_worker_is_free_only_while_it_collects() -> None:
    """With a batch in hand it is busy; each time that it comes back it gives a sign of life."""
    collector = _Collector()
    assert collector.table.heartbeats(0) is None
    assert collector.collect() == []
    assert (collector.table.free_workers, collector.table.heartbeats(0)) == (1, 1)
    for heartbeats in (2, 3):
        collector.queue(1)
        collector.collect()
        assert (collector.table.free_workers, collector.table.heartbeats(0)) == (0, heartbeats)


def test_a_worker_that_is_told_to_end_stays_as_long_as_an_http_process_may_need_it() -> None:
    """SIGTERM to the whole group: what comes in flight is still predicted."""
    collector = _Collector()
    collector.table.open(1, is_open=True)
    collector.loop.stop()
    assert collector.collect() == []
    slots = collector.queue(2, process=1)
    assert collector.collect() == slots
    collector.table.open(1, is_open=False)
    with pytest.raises(SystemExit):
        collector.collect()
    assert collector.table.free_workers == 0


def test_a_worker_that_is_told_to_end_predicts_nothing_that_no_http_process_waits_for() -> None:
    """A killed HTTP process leaves its requests in the queue; the server's end would wait for them."""
    collector = _Collector()
    collector.table.open(1, is_open=True)
    collector.queue(2, process=1)
    collector.loop.stop()
    collector.table.open(1, is_open=False)
    with pytest.raises(SystemExit):
        collector.collect()
    assert collector.table.in_sight == 2


def test_a_worker_that_is_not_told_to_end_stays_though_no_http_process_is_open() -> None:
    """As before the first of them has started."""
    collector = _Collector()
    assert not collector.table.is_open
    assert collector.collect() == []


def test_a_worker_goes_by_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """LitServe's, in the environment: what it does and that it leaves is noted under that, and under no other."""
    monkeypatch.setenv("LITSERVE_WORKER_ID", "3")
    collector = _Collector()
    collector.table.collect(1)
    collector.queue(1)
    collector.collect()
    assert [collector.table.heartbeats(worker) for worker in (0, 1, 3)] == [None, 1, 1]
    assert collector.table.free_workers == 1
    collector.collect()
    assert [collector.table.heartbeats(worker) for worker in (0, 1, 3)] == [None, 1, 2]
    assert collector.table.free_workers == 2
    collector.loop.stop()
    with pytest.raises(SystemExit):
        collector.collect()
    assert [collector.table.heartbeats(worker) for worker in (0, 1, 3)] == [None, 1, None]


class _Api:
    """Predicts the first byte of each image, and fails for a 9."""

    max_batch_size, batch_timeout = 8, float(_NEVER_S)

    def __init__(self, table: RequestTable) -> None:
        self._table = table

    def batch(self, slots: list[int], stages: BatchStages) -> Pixels:
        stages.batch.duration_s = 0.25
        return self._table.copy_images(slots)

    def predict(self, images: Pixels, stages: BatchStages) -> Probabilities:
        stages.predict.duration_s = 0.5
        values = images[:, 0, 0, 0].astype(np.float32)
        if (values == 9).any():
            raise RuntimeError("secret")
        return np.stack([values, -values], axis=1)


def _run(collector: _Collector) -> None:
    transport = TableTransport(collector.table, 2, lambda *_: Response())
    collector.loop.run(cast("LitAPI", _Api(collector.table)), "cpu", 0, Queue(), transport, {}, object())


def test_a_batch_is_predicted_and_answered_at_once() -> None:
    """Each request gets its own row, and all the batch's stages."""
    collector = _Collector()
    slots = [*collector.arrive(2), *collector.arrive(1, process=1)]
    for value, slot in enumerate(slots, 1):
        collector.table.queue(slot, np.full_like(_PIXELS, value))
    before_s = time.monotonic()
    _run(collector)
    answers = [*collector.table.fetch(0), *collector.table.fetch(1)]
    assert [answer.slot for answer in answers] == slots
    for value, answer in enumerate(answers, 1):
        assert answer.probabilities is not None
        assert answer.probabilities.tolist() == [value, -value]
        stages = BatchStages.from_numbers(answer.stages)
        assert (stages.batch.duration_s, stages.predict.duration_s, stages.predict.shared) == (0.25, 0.5, 3)
        assert answer.queued_at_s <= before_s <= stages.began_s <= time.monotonic()


def test_a_prediction_that_fails_fails_its_batch_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Its requests are answered so, the log has the error, and the worker goes on."""
    collector = _Collector()
    slots = collector.arrive(2)
    for value, slot in zip((1, 9), slots, strict=True):
        collector.table.queue(slot, np.full_like(_PIXELS, value))
    _run(collector)
    assert [(answer.slot, answer.probabilities) for answer in collector.table.fetch(0)] == [
        (slot, None) for slot in slots
    ]
    assert "the prediction of a batch of 2 images failed" in caplog.text
    assert "RuntimeError: secret" in caplog.text
    [slot] = collector.queue(1)
    _run(collector)
    assert [answer.slot for answer in collector.table.fetch(0)] == [slot]


def test_a_late_request_joins_the_batch_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is in the queue, one is still decoded: when it has come, the batch is closed before its window ends."""
    collector = _Collector()
    [first], [late] = collector.queue(1), collector.arrive(1)
    monkeypatch.setattr(time, "sleep", lambda _: collector.table.queue(late, _PIXELS))
    assert _collect_early(collector) == [first, late]


def test_a_request_that_is_withdrawn_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client has gone away, or it was no image."""
    collector = _Collector()
    [first], [bad] = collector.queue(1), collector.arrive(1)
    monkeypatch.setattr(time, "sleep", lambda _: collector.table.withdraw(bad))
    assert _collect_early(collector) == [first]


def test_a_batch_that_waits_is_filled_up_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of eight are there and one is decoded, when five others come at once."""
    collector = _Collector()
    first, more = [*collector.queue(6), *collector.arrive(1)][:6], list[int]()
    monkeypatch.setattr(time, "sleep", lambda _: more.extend(collector.queue(5, process=1)))
    assert _collect_early(collector) == first + more[:2]
    assert collector.table.in_sight == 1 + 3


@pytest.mark.parametrize(("company", "looks_per_s"), [(False, 20), (True, 1000)])
def test_who_waits_seldom_looks(company: bool, looks_per_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an idle worker nor one that waits for its batch to fill spins: a core that it takes is another's."""
    collector = _Collector(batch_timeout_s="0.3")
    take, looks = collector.table.take, 0

    def counted(most: int) -> list[int]:
        nonlocal looks
        looks += 1
        return take(most)

    monkeypatch.setattr(collector.table, "take", counted)
    if company:
        collector.queue(1)
        collector.arrive(1)
    start_s = time.monotonic()
    while time.monotonic() < start_s + 0.25:
        collector.collect()
    assert looks <= looks_per_s * (time.monotonic() - start_s) + 2


def _work(table: RequestTable) -> None:
    """Sleep for long where nothing is queued, and end when told to, as a worker's process does."""
    batching._IDLE_S = 600.0
    loop = FairShareLoop(table)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    while True:
        loop.next_batch(cast("LitAPI", SimpleNamespace(max_batch_size=8, batch_timeout=0.01)))


def test_an_idle_worker_that_is_told_to_end_does_not_sleep_on() -> None:
    """The signal comes while it sleeps, and its handler ends the sleep."""
    table = RequestTable(16, slots=16, processes=2, labels=2, devices=1, workers_per_device=1)
    worker = get_context("spawn").Process(target=_work, args=(table,), daemon=True)
    worker.start()
    wait_until(lambda: table.free_workers == 1 and table.heartbeats(0) is None, "it sleeps")
    worker.terminate()
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


def test_each_server_has_its_own_table() -> None:
    """What the HTTP side puts there is what the worker's loop takes."""
    server, other = (build_server(load_settings([], "unit_tests")) for _ in range(2))
    assert isinstance(server.lit_api.loop, FairShareLoop)
    assert server.app.state.intake.table is server.table
    assert server.table.arrive(0) is not None
    assert (server.table.in_sight, other.table.in_sight) == (1, 0)

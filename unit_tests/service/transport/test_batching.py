"""A batch is closed when nobody else is on the way, each free worker gets its share, and no worker leaves too early."""

import multiprocessing
import os
import time
from queue import Queue
from types import SimpleNamespace

import numpy as np
import pytest
from litserve import LitAPI
from litserve.transport.process_transport import MPQueueTransport

from service.server import build_server
from service.settings import load_settings
from service.transport.batching import FairShareLoop
from service.transport.request_table import RequestTable

_NEVER_S = "9"
"""A batch window in seconds that a test would notice: it is only waited out where the test says so."""
_PIXELS = np.zeros((16, 16, 3), np.uint8)


class _House:
    """A worker's loop with the table that it takes its requests from."""

    def __init__(self, *, batch_timeout_s: str = _NEVER_S) -> None:
        flags = ["--max-batch-size", "8", "--batch-timeout-s", batch_timeout_s]
        self.api: LitAPI = build_server(load_settings(flags, "unit_tests")).lit_api
        self.table = RequestTable(16, places=8, processes=2, answer_bytes=0)
        self.loop = FairShareLoop(self.table)

    def arrive(self, count: int, process: int = 0) -> list[int]:
        """Requests that have been let in and are still decoded."""
        places = [self.table.arrive(process) for _ in range(count)]
        return [place for place in places if place is not None]

    def queue(self, count: int, process: int = 0) -> list[int]:
        """Requests that a worker can take."""
        places = self.arrive(count, process)
        for place in places:
            self.table.queue(place, _PIXELS)
        return places

    def collect(self) -> list[int]:
        """The places of the next batch."""
        batch, timed_out = self.loop.get_batch_requests(self.api, Queue(), MPQueueTransport(None, []))
        assert timed_out == []
        assert all(image.place == uid and process == uid // 8 for process, uid, image in batch)
        assert all(image.queued_at_s <= time.monotonic() for _, _, image in batch)
        return [place for _, place, _ in batch]


def _collect_early(house: _House) -> list[int]:
    """What is collected without the batch window being waited out."""
    start_s = time.monotonic()
    collected = house.collect()
    assert time.monotonic() - start_s < float(_NEVER_S)
    return collected


def test_a_single_request_does_not_wait_for_company() -> None:
    """Nobody else is on the way: its batch is closed at once."""
    house = _House()
    [place] = house.queue(1)
    assert _collect_early(house) == [place]
    assert house.table.in_sight == 0


def test_all_that_is_there_goes_together_the_oldest_first() -> None:
    """One free worker takes all, whichever HTTP process has them."""
    house = _House()
    places = [*house.queue(1, process=1), *house.queue(2), *house.queue(2, process=1)]
    assert _collect_early(house) == places


def test_a_batch_is_never_larger_than_allowed() -> None:
    """The rest stays for the next one."""
    house = _House()
    first, rest = house.queue(8), house.queue(3, process=1)
    assert _collect_early(house) == first
    assert house.table.in_sight == 3
    assert _collect_early(house) == rest


@pytest.mark.parametrize(("others", "share"), [(0, 5), (1, 3), (2, 2), (4, 1), (9, 1)])
def test_other_free_workers_get_their_share(others: int, share: int) -> None:
    """Of five requests each of n free workers takes a fifth, a third, half: rounded up, one at least."""
    house = _House()
    for worker in range(1, 1 + others):
        house.table.collect(worker)
    house.queue(5)
    assert len(_collect_early(house)) == share
    assert house.table.in_sight == 5 - share


def test_a_busy_worker_gets_no_share() -> None:
    """What it can't take now is not left for it."""
    house = _House()
    house.table.collect(1)
    house.table.work(1)
    places = house.queue(2)
    assert _collect_early(house) == places


def test_a_request_that_is_still_decoded_is_waited_for_up_to_the_window() -> None:
    """One in the queue, one on the way that never comes: the window closes the batch."""
    house = _House(batch_timeout_s="0.2")
    [place], _ = house.queue(1), house.arrive(1)
    start_s = time.monotonic()
    assert house.collect() == [place]
    assert time.monotonic() - start_s >= 0.2


def test_a_worker_is_free_only_while_it_collects() -> None:
    """With a batch in hand it is busy; each time that it comes back it gives a sign of life."""
    house = _House()
    assert house.table.beats(0) is None
    assert house.collect() == []
    assert (house.table.free_workers, house.table.beats(0)) == (1, 1)
    for beats in (2, 3):
        house.queue(1)
        house.collect()
        assert (house.table.free_workers, house.table.beats(0)) == (0, beats)


def test_a_worker_that_is_told_to_end_stays_as_long_as_an_http_process_may_need_it() -> None:
    """SIGTERM to the whole group: what comes in flight is still predicted."""
    house = _House()
    house.table.open(1, is_open=True)
    house.loop.stop()
    assert house.collect() == []
    places = house.queue(2, process=1)
    assert house.collect() == places
    house.table.open(1, is_open=False)
    with pytest.raises(SystemExit):
        house.collect()
    assert house.table.free_workers == 0


@pytest.mark.parametrize("is_orphan", [False, True])
def test_a_worker_ends_when_the_server_is_gone(is_orphan: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else would end it after a SIGKILL of the server."""
    house = _House()
    parent = 2**22 + 1 if is_orphan else os.getppid()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=parent))
    if is_orphan:
        with pytest.raises(SystemExit) as ended:
            house.collect()
        assert ended.value.code == 0
        assert not house.table.any_worker_present
    else:
        assert house.collect() == []


def test_an_orphan_still_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTTP process that outlives the server waits for it."""
    house = _House()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=2**22 + 1))
    places = house.queue(2)
    assert house.collect() == places


def test_a_worker_that_is_not_told_to_end_stays_though_no_http_process_is_open() -> None:
    """As before the first of them has started."""
    house = _House()
    assert not house.table.is_open
    assert house.collect() == []


def test_a_worker_goes_by_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """LitServe's, in the environment: what it does and that it leaves is noted under that, and under no other."""
    monkeypatch.setenv("LITSERVE_WORKER_ID", "3")
    house = _House()
    house.table.collect(1)
    house.queue(1)
    house.collect()
    assert [house.table.beats(worker) for worker in (0, 1, 3)] == [None, 1, 1]
    assert house.table.free_workers == 1
    house.collect()
    assert [house.table.beats(worker) for worker in (0, 1, 3)] == [None, 1, 2]
    assert house.table.free_workers == 2
    house.loop.stop()
    with pytest.raises(SystemExit):
        house.collect()
    assert [house.table.beats(worker) for worker in (0, 1, 3)] == [None, 1, None]


def test_each_image_is_told_where_it_is_and_since_when_it_waits() -> None:
    """The metrics and the stage `queue` are reckoned from that."""
    house = _House()
    places = [*house.queue(1, process=1), *house.queue(1)]
    batch, _ = house.loop.get_batch_requests(house.api, Queue(), MPQueueTransport(None, []))
    assert [image.place for _, _, image in batch] == places == [8, 0]
    assert [process for process, _, _ in batch] == [1, 0]
    assert [image.queued_at_s for _, _, image in batch] == [house.table.queued_at_s(place) for place in places]


def test_a_late_request_joins_the_batch_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is in the queue, one is still decoded: when it has come, the batch is closed before its window ends."""
    house = _House()
    [first], [late] = house.queue(1), house.arrive(1)
    monkeypatch.setattr(time, "sleep", lambda _: house.table.queue(late, _PIXELS))
    assert _collect_early(house) == [first, late]


def test_a_request_that_is_withdrawn_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client has gone away, or it was no image."""
    house = _House()
    [first], [bad] = house.queue(1), house.arrive(1)
    monkeypatch.setattr(time, "sleep", lambda _: house.table.withdraw(bad))
    assert _collect_early(house) == [first]


def test_a_batch_that_waits_is_filled_up_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of eight are there and one is decoded, when five others come at once."""
    house = _House()
    first, more = [*house.queue(6), *house.arrive(1)][:6], list[int]()
    monkeypatch.setattr(time, "sleep", lambda _: more.extend(house.queue(5, process=1)))
    assert _collect_early(house) == first + more[:2]
    assert house.table.in_sight == 1 + 3


@pytest.mark.parametrize(("company", "looks_per_s"), [(False, 20), (True, 1000)])
def test_who_waits_seldom_looks(company: bool, looks_per_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an idle worker nor one that waits for its batch to fill spins: a core that it takes is another's."""
    house = _House(batch_timeout_s="0.3")
    take, looks = house.table.take, 0

    def counted(most: int) -> list[int]:
        nonlocal looks
        looks += 1
        return take(most)

    monkeypatch.setattr(house.table, "take", counted)
    if company:
        house.queue(1)
        house.arrive(1)
    start_s = time.monotonic()
    while time.monotonic() < start_s + 0.25:
        house.collect()
    assert looks <= looks_per_s * (time.monotonic() - start_s) + 2


def test_an_idle_worker_looks_up_often_enough_to_end_soon() -> None:
    """Whether it is to end is seen between two waits: each is a part of a second."""
    house = _House()
    start_s = time.monotonic()
    assert house.collect() == []
    assert 0.05 < time.monotonic() - start_s < 1.0


def test_each_server_has_its_own_table() -> None:
    """What the HTTP side puts there is what the worker's loop takes."""
    server, other = (build_server(load_settings([], "unit_tests")) for _ in range(2))
    assert isinstance(server.lit_api.loop, FairShareLoop)
    assert server.app.state.intake.table is server.table
    assert server.table.arrive(0) is not None
    assert (server.table.in_sight, other.table.in_sight) == (1, 0)

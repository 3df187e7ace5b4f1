"""A request's place goes from hand to hand between processes, and whoever is killed leaves it where it was."""

import os
import random
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from service.images import Pixels
from service.transport.request_table import RequestTable

_SIZE = 4
_SPAWN = get_context("spawn")


def _table(*, places: int = 3, processes: int = 1) -> RequestTable:
    return RequestTable(_SIZE, places, processes, answer_bytes=100)


def _image(value: int) -> Pixels:
    return np.full((_SIZE, _SIZE, 3), value, np.uint8)


def _queue(table: RequestTable, count: int, process: int = 0) -> list[int]:
    """Places of so many requests that a worker could take."""
    places = [_arrive(table, process) for _ in range(count)]
    for place in places:
        table.queue(place, _image(place % 256))
    return places


def _arrive(table: RequestTable, process: int = 0) -> int:
    place = table.arrive(process)
    assert place is not None
    return place


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def _in_a_process(work: Callable[..., object], *arguments: object) -> Any:
    """The process, ended without an error."""
    process = _SPAWN.Process(target=work, args=arguments)
    process.start()
    process.join(60)
    process.kill()
    process.join()
    assert process.exitcode == 0
    return process


def test_a_request_goes_through_its_place() -> None:
    """Its image comes out as it went in, then its answer does, and then the place is free again."""
    table = _table(places=1)
    place = _arrive(table)
    assert (table.in_sight, table.queued(0), table.taken(0), table.answered(0)) == (1, [], [], [])
    assert table.take(9) == [], "it is still decoded"
    before_s = time.monotonic()
    table.queue(place, _image(7))
    assert before_s <= table.queued_at_s(place) <= time.monotonic()
    assert (table.in_sight, table.queued(0), table.taken(0), table.answered(0)) == (1, [place], [], [])
    assert table.take(9) == [place]
    assert (table.in_sight, table.queued(0), table.taken(0), table.answered(0)) == (0, [], [(place, os.getpid())], [])
    assert table.take(9) == [], "nobody takes it twice"
    np.testing.assert_array_equal(table.copy_images([place]), [_image(7)])
    assert table.answer(place, b"a cat") == 0
    assert (table.in_sight, table.queued(0), table.taken(0), table.answered(0)) == (0, [], [], [place])
    assert table.fetch(place) == b"a cat"
    assert (table.in_sight, table.queued(0), table.taken(0), table.answered(0)) == (0, [], [], [])
    assert table.arrive(0) == place


def test_images_are_copied_in_the_order_of_their_places() -> None:
    """As they are asked for, not as they lie."""
    table = _table()
    first, second, third = _queue(table, 3)
    expected = [_image(third), _image(first), _image(second)]
    np.testing.assert_array_equal(table.copy_images([third, first, second]), expected)


def test_a_full_table_has_no_place() -> None:
    """Until one is given back."""
    table = _table()
    places = [_arrive(table) for _ in range(3)]
    assert len(set(places)) == 3
    assert table.arrive(0) is None
    table.free(places[1])
    assert table.arrive(0) == places[1]


def test_each_http_process_has_its_own_places() -> None:
    """One that is full takes nothing from another and sees nothing of it; workers take from all."""
    table = _table(places=2, processes=2)
    here, there = _queue(table, 2, process=0), _queue(table, 2, process=1)
    assert not set(here) & set(there)
    assert table.arrive(0) is None
    assert (table.queued(0), table.queued(1)) == (here, there)
    assert sorted(table.take(9)) == sorted(here + there)
    assert [place for place, _ in table.taken(1)] == there
    assert [table.answer(place, b"") for place in (here[1], there[0])] == [0, 1]
    assert (table.answered(0), table.answered(1)) == ([here[1]], [there[0]])


def test_a_request_is_withdrawn_only_before_a_worker_has_it() -> None:
    """What a worker reads and writes belongs to nobody else."""
    table = _table()
    arriving, (queued, taken) = _arrive(table), _queue(table, 2)
    table._queued_at_s[taken] -= 1
    assert table.take(1) == [taken]
    assert [table.withdraw(place) for place in (arriving, queued, taken)] == [True, True, False]
    assert table.take(9) == []
    assert [place for place, _ in table.taken(0)] == [taken]
    table.answer(taken, b"")
    assert not table.withdraw(taken)
    assert {table.arrive(0), table.arrive(0), table.arrive(0)} == {arriving, queued, None}


@pytest.mark.parametrize("answer", [b"", b"\0", bytes(range(100))])
def test_an_answer_comes_out_as_it_went_in(answer: bytes) -> None:
    """Up to the largest, also where a longer one was before."""
    table = _table(places=1)
    for sent in (b"x" * 100, answer):
        [place] = _queue(table, 1)
        table.take(1)
        table.answer(place, sent)
        assert table.fetch(place) == sent


def test_an_answer_that_is_too_large_is_refused() -> None:
    """Or it would be written over another's place, which stays as it was."""
    table = _table()
    first, second, _ = table.take(len(_queue(table, 3)))
    with pytest.raises(ValueError, match="an answer of 101 bytes; there is room for 100"):
        table.answer(first, b"x" * 101)
    np.testing.assert_array_equal(table.copy_images([second]), [_image(second)])
    assert table.answered(0) == []


def test_who_waits_longest_is_taken_first() -> None:
    """Whatever its place, and whichever HTTP process it is in."""
    table = _table(places=2, processes=2)
    places = [_arrive(table, process) for process in (0, 0, 1, 1)]
    order = [places[index] for index in (2, 1, 3, 0)]
    for place in order:
        table.queue(place, _image(0))
    assert table.take(3) == order[:3]
    assert table.take(3) == order[3:]


def test_a_house_is_open_while_one_http_process_is() -> None:
    """Workers end when the last has closed."""
    table = _table(processes=2)
    opened = [table.is_open]
    for process, is_open in ((0, True), (1, True), (0, False), (1, False)):
        table.open(process, is_open=is_open)
        opened.append(table.is_open)
    assert opened == [False, True, True, True, False]


def test_the_table_knows_what_each_worker_does() -> None:
    """Free or busy, and how often it has come back for a batch."""
    table = _table()
    assert not table.any_worker_present
    table.collect(0)
    table.collect(200)
    assert (table.any_worker_present, table.free_workers, table.beats(0), table.beats(200)) == (True, 2, 1, 1)
    table.work(0)
    assert (table.any_worker_present, table.free_workers, table.beats(0)) == (True, 1, 1)
    table.collect(0)
    assert (table.free_workers, table.beats(0)) == (2, 2)
    table.leave(0)
    table.leave(200)
    assert (table.any_worker_present, table.free_workers, table.beats(0)) == (False, 0, None)


def _answer_all_images(table: RequestTable) -> None:
    table.collect(1)
    for place in table.take(9):
        table.answer(place, table.copy_images([place]).tobytes())


def test_a_spawned_process_sees_and_answers_what_is_queued_here() -> None:
    """And its answers, its state and what it freed are seen here."""
    table = _table()
    places = _queue(table, 3)
    _in_a_process(_answer_all_images, table)
    assert table.free_workers == 1
    assert table.answered(0) == places
    assert [table.fetch(place) for place in places] == [_image(place).tobytes() for place in places]


def test_a_taken_place_tells_who_has_it() -> None:
    """Also when that process has ended."""
    table = _table()
    places = _queue(table, 2)
    ended = _in_a_process(table.take, 1)
    assert table.taken(0) == [(places[0], ended.pid)]
    assert table.queued(0) == places[1:]


def test_a_taken_place_that_is_answered_meanwhile_names_its_worker_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never the number of another state."""
    table = _table()
    [place] = _queue(table, 1)
    table.take(1)
    look = table._where

    def look_and_answer(process: int, which: np.ndarray[Any, Any]) -> list[int]:
        found = look(process, which)
        table.answer(place, b"answer")
        return found

    monkeypatch.setattr(table, "_where", look_and_answer)
    assert table.taken(0) == [(place, os.getpid())]


def test_the_place_of_a_worker_that_has_ended_is_reclaimed_unless_it_had_answered() -> None:
    """An answer that is there is fetched."""
    table = _table()
    places = _queue(table, 2)
    ended = _in_a_process(table.take, 2).pid
    assert ended is not None
    table.answer(places[1], b"answer")
    assert [table.reclaim(place, ended) for place in places] == [True, False]
    assert table.arrive(0) == places[0]
    assert table.fetch(places[1]) == b"answer"


def _take_all(table: RequestTable, start: Any, test: Connection) -> None:
    start.wait()
    taken: list[int] = []
    while more := table.take(3):
        taken += more
    test.send(taken)


def test_processes_that_take_at_the_same_time_lose_nothing_and_take_nothing_twice() -> None:
    """Each place is taken by exactly one of them, and says by which."""
    table = _table(places=3_000)
    places = _queue(table, 3_000)
    start = _SPAWN.Barrier(3)
    takers = []
    for _ in range(3):
        ours, its = _SPAWN.Pipe()
        taker = _SPAWN.Process(target=_take_all, args=(table, start, its), daemon=True)
        taker.start()
        takers.append((taker, ours))
    by_pid = {}
    for taker, ours in takers:
        assert ours.poll(60)
        by_pid[taker.pid] = ours.recv()
        taker.join(60)
    assert sorted(place for taken in by_pid.values() for place in taken) == places
    assert dict(table.taken(0)) == {place: pid for pid, taken in by_pid.items() for place in taken}


def _take_and_give_back(table: RequestTable, test: Connection) -> None:
    test.send("begun")
    while True:
        for place in table.take(3):
            table.queue(place, _image(1))


def _kill_takers(table: RequestTable) -> None:
    # Forked from here, where nothing is loaded and no other thread runs, they are started in no time.
    fork, moments = get_context("fork"), random.Random(5)
    places = _queue(table, table.places)
    for _ in range(40):
        ours, its = fork.Pipe()
        taker = fork.Process(target=_take_and_give_back, args=(table, its), daemon=True)
        taker.start()
        assert ours.recv() == "begun"
        time.sleep(moments.uniform(0.0, 0.02))
        taker.kill()
        taker.join()
        left = table.taken(0)
        assert {pid for _, pid in left} <= {taker.pid}
        assert sorted(table.queued(0) + [place for place, _ in left]) == places
        taken = table.take(table.places)
        assert sorted(taken + [place for place, _ in left]) == places
        for place in places:
            table.queue(place, _image(2))


def test_a_worker_that_is_killed_at_any_moment_leaves_the_table_usable() -> None:
    """Each place is queued or plainly the killed one's, and others still take, queue and answer."""
    _in_a_process(_kill_takers, _table(places=12))


def _stay_in_the_lock(table: RequestTable, test: Connection) -> None:
    with table._taking:
        test.send("inside")
        test.recv()


def test_a_worker_that_is_killed_while_it_takes_keeps_nobody_out() -> None:
    """Inside the lock, where it may be in the middle of anything."""
    table = _table()
    places = _queue(table, 3)
    ours, its = _SPAWN.Pipe()
    holder = _SPAWN.Process(target=_stay_in_the_lock, args=(table, its), daemon=True)
    holder.start()
    assert ours.poll(60)
    holder.kill()
    holder.join()
    taker = _in_a_process(table.take, 2)
    assert table.taken(0) == [(place, taker.pid) for place in places[:2]]
    assert table.withdraw(places[2])


def test_a_waiting_worker_wakes_when_something_is_queued() -> None:
    """Long before its time is over."""
    table = _table()
    worker = _SPAWN.Process(target=table.wait, args=(1, 600.0), daemon=True)
    worker.start()
    _until(lambda: table.free_workers == 1)
    _queue(table, 1)
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


def test_a_worker_does_not_wait_beside_a_queued_request() -> None:
    """It was queued before anybody waited, so nobody was woken for it."""
    table = _table()
    _queue(table, 1)
    _in_a_process(table.wait, 1, 600.0)

"""A request's slot goes from hand to hand between processes, and whoever is killed leaves it where it was."""

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
from service.stages import BatchStages, StageTimer
from service.transport.request_table import RequestTable

_SIZE = 4
_SPAWN = get_context("spawn")
_SLOTS_OF_KILLED = 12


def _table(*, slots: int = 3, processes: int = 1) -> RequestTable:
    return RequestTable(_SIZE, slots, processes, labels=2, devices=1, workers_per_device=3)


def _image(value: int) -> Pixels:
    return np.full((_SIZE, _SIZE, 3), value, np.uint8)


def _queue(table: RequestTable, count: int, process: int = 0) -> list[int]:
    """Slots of so many requests that a worker could take."""
    slots = [_arrive(table, process) for _ in range(count)]
    for slot in slots:
        table.queue(slot, _image(slot % 256))
    return slots


def _arrive(table: RequestTable, process: int = 0) -> int:
    slot = table.arrive(process)
    assert slot is not None
    return slot


def _stages(predict_s: float = 0.5) -> BatchStages:
    return BatchStages(
        1.0, 2.0, StageTimer("batch", 0.25, 0.125, 3.0, 2), StageTimer("predict", predict_s, 0.5, 4.0, 2)
    )


def _answer(table: RequestTable, slots: list[int], *values: float) -> None:
    """Answer each with its value and that value's negative."""
    table.answer(slots, np.array([[value, -value] for value in values], np.float32), _stages())


def _fetched(table: RequestTable, process: int = 0) -> dict[int, list[float] | None]:
    """Fetch the answers of a process by their slots; None for a prediction that has failed."""
    return {
        answer.slot: None if answer.probabilities is None else answer.probabilities.tolist()
        for answer in table.fetch(process)
    }


def _in_a_process(work: Callable[..., object], *arguments: object) -> Any:
    """The process, ended without an error."""
    process = _SPAWN.Process(target=work, args=arguments)
    process.start()
    process.join(60)
    process.kill()
    process.join()
    assert process.exitcode == 0
    return process


def test_a_request_goes_through_its_slot() -> None:
    """Its image comes out as it went in, then its answer does, and then the slot is free again."""
    table = _table(slots=1)
    slot = _arrive(table)
    assert (table.in_sight, table.queued(0), table.taken(0), _fetched(table)) == (1, [], [], {})
    assert table.take(9) == [], "it is still decoded"
    before_s = time.monotonic()
    table.queue(slot, _image(7))
    assert before_s <= table.queued_at_s(slot) <= time.monotonic()
    assert (table.in_sight, table.queued(0), table.taken(0), _fetched(table)) == (1, [slot], [], {})
    assert table.take(9) == [slot]
    assert (table.in_sight, table.queued(0), table.taken(0), _fetched(table)) == (0, [], [(slot, os.getpid())], {})
    assert table.take(9) == [], "nobody takes it twice"
    np.testing.assert_array_equal(table.copy_images([slot]), [_image(7)])
    _answer(table, [slot], 0.25)
    assert (table.in_sight, table.queued(0), table.taken(0)) == (0, [], [])
    assert table.arrive(0) is None, "its answer is still there"
    assert _fetched(table) == {slot: [0.25, -0.25]}
    assert _fetched(table) == {}
    assert table.arrive(0) == slot


def test_images_are_copied_in_the_order_of_their_slots() -> None:
    """As they are asked for, not as they lie."""
    table = _table()
    first, second, third = _queue(table, 3)
    expected = [_image(third), _image(first), _image(second)]
    np.testing.assert_array_equal(table.copy_images([third, first, second]), expected)


def test_a_full_table_has_no_slot() -> None:
    """Until one is given back."""
    table = _table()
    slots = [_arrive(table) for _ in range(3)]
    assert len(set(slots)) == 3
    assert table.arrive(0) is None
    table.free(slots[1])
    assert table.arrive(0) == slots[1]


def test_http_processes_share_the_slots_and_each_sees_its_own_requests() -> None:
    """One may have all of them but what another has; workers take from all."""
    table = _table(slots=4, processes=2)
    here, there = _queue(table, 3, process=0), _queue(table, 1, process=1)
    assert not set(here) & set(there)
    assert (table.arrive(0), table.arrive(1)) == (None, None)
    assert (table.queued(0), table.queued(1)) == (here, there)
    assert sorted(table.take(9)) == sorted(here + there)
    assert [slot for slot, _ in table.taken(1)] == there
    assert [table.owners(slots) for slots in (here, there, [here[1], there[0]])] == [{0}, {1}, {0, 1}]
    _answer(table, [here[1], there[0]], 1, 2)
    assert (_fetched(table, 0), _fetched(table, 1)) == ({here[1]: [1, -1]}, {there[0]: [2, -2]})
    assert table.arrive(1) == here[1], "whoever comes first"
    assert table.owners([here[1]]) == {1}


def _take_slots(table: RequestTable, process: int, start: Any, test: Connection) -> None:
    start.wait()
    slots = []
    while (slot := table.arrive(process)) is not None:
        slots.append(slot)
    test.send(slots)


def test_no_slot_is_given_to_two_http_processes() -> None:
    """They take slots at the same time until none is left."""
    table, start = _table(slots=3_000, processes=3), _SPAWN.Barrier(3)
    takers = []
    for process in range(3):
        ours, its = _SPAWN.Pipe()
        taker = _SPAWN.Process(target=_take_slots, args=(table, process, start, its), daemon=True)
        taker.start()
        takers.append((taker, ours))
    taken = []
    for process, (taker, ours) in enumerate(takers):
        assert ours.poll(60)
        slots = ours.recv()
        assert table.owners(slots) <= {process}
        taken += slots
        taker.join(60)
    assert sorted(taken) == list(range(3_000))


def test_a_request_is_withdrawn_only_before_a_worker_has_it() -> None:
    """What a worker reads and writes belongs to nobody else."""
    table = _table()
    arriving, (queued, taken) = _arrive(table), _queue(table, 2)
    table._queued_at_s[taken] -= 1
    assert table.take(1) == [taken]
    assert [table.withdraw(slot) for slot in (arriving, queued, taken)] == [True, True, False]
    assert table.take(9) == []
    assert [slot for slot, _ in table.taken(0)] == [taken]
    _answer(table, [taken], 1)
    assert not table.withdraw(taken)
    assert {table.arrive(0), table.arrive(0), table.arrive(0)} == {arriving, queued, None}


def test_the_answers_of_a_batch_come_out_as_they_went_in() -> None:
    """To the last bit, each in its request's slot, with the stages of its batch and the time of its own."""
    table = _table(slots=4)
    slots = table.take(len(_queue(table, 4)))
    values = np.random.default_rng(1).random((2, 2), np.float32)
    queued_at_s = [table.queued_at_s(slot) for slot in slots]
    table.answer([slots[2], slots[0]], values, _stages(0.5))
    table.answer([slots[1]], values[:1], _stages(0.75))
    table.fail([slots[3]])
    answers = table.fetch(0)
    assert [(answer.slot, answer.queued_at_s) for answer in answers] == list(zip(slots, queued_at_s, strict=True))
    assert [answer.probabilities is None for answer in answers] == [False, False, False, True]
    np.testing.assert_array_equal(np.array([answer.probabilities for answer in answers[:3]]), values[[1, 0, 0]])
    stages = [BatchStages.from_numbers(answer.stages) for answer in answers[:3]]
    assert stages == [_stages(0.5), _stages(0.75), _stages(0.5)]


def test_an_answer_that_is_fetched_stays_as_it_is() -> None:
    """The next request in its slot has its answer written there."""
    table = _table(slots=1)
    [slot] = table.take(len(_queue(table, 1)))
    _answer(table, [slot], 1)
    [answer] = table.fetch(0)
    [slot] = table.take(len(_queue(table, 1)))
    _answer(table, [slot], 2)
    assert answer.probabilities is not None
    assert answer.probabilities.tolist() == [1, -1]


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (3,), (1, 2)])
def test_answers_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """None of the batch is answered, so that its requests can be told that it failed."""
    table = _table()
    slots = table.take(len(_queue(table, 3)))
    with pytest.raises(ValueError, match=r"answers of shape .* to a batch that needs \(3, 2\)"):
        table.answer(slots, np.zeros(shape, np.float32), _stages())
    assert _fetched(table) == {}
    assert [slot for slot, _ in table.taken(0)] == slots


def test_who_waits_longest_is_taken_first() -> None:
    """Whatever its slot, and whichever HTTP process it is in."""
    table = _table(slots=4, processes=2)
    slots = [_arrive(table, process) for process in (0, 0, 1, 1)]
    order = [slots[index] for index in (2, 1, 3, 0)]
    for slot in order:
        table.queue(slot, _image(0))
    assert table.take(3) == order[:3]
    assert table.take(3) == order[3:]


def test_the_table_is_open_while_one_http_process_is() -> None:
    """Workers end when the last has closed."""
    table = _table(processes=2)
    opened = [table.is_open]
    for process, is_open in ((0, True), (1, True), (0, False), (1, False)):
        table.open(process, is_open=is_open)
        opened.append(table.is_open)
    assert opened == [False, True, True, True, False]


def test_the_table_knows_what_each_worker_does() -> None:
    """Each worker is free or busy; its heartbeats count the batches that it began, `batches` those that it finished."""
    table = _table()
    assert not table.any_worker_present
    table.collect(0)
    table.collect(2)
    assert (table.any_worker_present, table.free_workers, table.heartbeats(0), table.heartbeats(2)) == (True, 2, 1, 1)
    assert [table.is_present(worker) for worker in range(3)] == [True, False, True]
    table.work(0)
    assert (table.any_worker_present, table.free_workers, table.heartbeats(0)) == (True, 1, 1)
    table.collect(0)
    assert (table.free_workers, table.heartbeats(0), table.batches(0)) == (2, 2, 1)
    table.collect(0)  # no request had come
    assert (table.heartbeats(0), table.batches(0), table.batches(2)) == (3, 1, 0)
    table.leave(0)
    table.leave(2)
    assert (table.any_worker_present, table.free_workers, table.heartbeats(0), table.batches(0)) == (False, 0, None, 0)
    assert [table.is_present(worker) for worker in range(3)] == [False, False, False]


def _answer_all_images(table: RequestTable) -> None:
    table.collect(1)
    slots = table.take(9)
    _answer(table, slots, *table.copy_images(slots)[:, 0, 0, 0].tolist())


def test_a_spawned_process_sees_and_answers_what_is_queued_here() -> None:
    """And its answers, its state and what it freed are seen here."""
    table = _table()
    slots = _queue(table, 3)
    _in_a_process(_answer_all_images, table)
    assert table.free_workers == 1
    assert _fetched(table) == {slot: [slot, -slot] for slot in slots}


def test_a_taken_slot_tells_who_has_it() -> None:
    """Also when that process has ended."""
    table = _table()
    slots = _queue(table, 2)
    ended = _in_a_process(table.take, 1)
    assert table.taken(0) == [(slots[0], ended.pid)]
    assert table.queued(0) == slots[1:]


def test_a_taken_slot_that_is_answered_meanwhile_names_its_worker_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never the number of another state."""
    table = _table()
    [slot] = _queue(table, 1)
    table.take(1)
    look = table._where

    def look_and_answer(process: int, which: np.ndarray[Any, Any]) -> list[int]:
        found = look(process, which)
        _answer(table, [slot], 1)
        return found

    monkeypatch.setattr(table, "_where", look_and_answer)
    assert table.taken(0) == [(slot, os.getpid())]


def test_the_slot_of_a_worker_that_has_ended_is_reclaimed_unless_it_had_answered() -> None:
    """An answer that is there is fetched."""
    table = _table()
    slots = _queue(table, 2)
    ended = _in_a_process(table.take, 2).pid
    assert ended is not None
    _answer(table, [slots[1]], 1)
    assert [table.reclaim(slot, ended) for slot in slots] == [True, False]
    assert table.arrive(0) == slots[0]
    assert _fetched(table) == {slots[1]: [1, -1]}


def _take_all(table: RequestTable, start: Any, test: Connection) -> None:
    start.wait()
    taken: list[int] = []
    while more := table.take(3):
        taken += more
    test.send(taken)


def test_processes_that_take_at_the_same_time_lose_nothing_and_take_nothing_twice() -> None:
    """Each slot is taken by exactly one of them, and says by which."""
    table = _table(slots=3_000)
    slots = _queue(table, 3_000)
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
    assert sorted(slot for taken in by_pid.values() for slot in taken) == slots
    assert dict(table.taken(0)) == {slot: pid for pid, taken in by_pid.items() for slot in taken}


def _take_and_give_back(table: RequestTable, test: Connection) -> None:
    test.send("begun")
    while True:
        for slot in table.take(3):
            table.queue(slot, _image(1))


def _kill_takers(table: RequestTable) -> None:
    # Forked from here, where nothing is loaded and no other thread runs, they are started in no time.
    fork, moments = get_context("fork"), random.Random(5)
    slots = _queue(table, _SLOTS_OF_KILLED)
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
        assert sorted(table.queued(0) + [slot for slot, _ in left]) == slots
        taken = table.take(_SLOTS_OF_KILLED)
        assert sorted(taken + [slot for slot, _ in left]) == slots
        for slot in slots:
            table.queue(slot, _image(2))


def test_a_worker_that_is_killed_at_any_moment_leaves_the_table_usable() -> None:
    """Each slot is queued or plainly the killed one's, and others still take, queue and answer."""
    _in_a_process(_kill_takers, _table(slots=_SLOTS_OF_KILLED))


def _stay_in_the_lock(table: RequestTable, test: Connection) -> None:
    with table._taking:
        test.send("inside")
        test.recv()


def test_a_worker_that_is_killed_while_it_takes_keeps_nobody_out() -> None:
    """Inside the lock, where it may be in the middle of anything."""
    table = _table()
    slots = _queue(table, 3)
    ours, its = _SPAWN.Pipe()
    holder = _SPAWN.Process(target=_stay_in_the_lock, args=(table, its), daemon=True)
    holder.start()
    assert ours.poll(60)
    holder.kill()
    holder.join()
    taker = _in_a_process(table.take, 2)
    assert table.taken(0) == [(slot, taker.pid) for slot in slots[:2]]
    assert table.withdraw(slots[2])

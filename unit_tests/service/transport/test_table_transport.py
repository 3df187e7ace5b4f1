"""An answer finds its request; a request without hope of one is answered all the same."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from fastapi import Request, Response

from service.images import Pixels
from service.predictions import Probabilities
from service.stages import BatchStages, StageTimer
from service.transport.request_table import RequestTable
from service.transport.table_transport import DecodedImage, TableTransport

pytestmark = pytest.mark.anyio

_PIXELS: Pixels = np.zeros((16, 16, 3), np.uint8)
_LONG_S = 60.0


class _Client:
    """All that is asked of a request: whether its client is still there."""

    def __init__(self, *, is_gone: bool) -> None:
        self._is_gone = is_gone

    async def is_disconnected(self) -> bool:
        return self._is_gone


def _stages() -> BatchStages:
    batch, predict = StageTimer("batch", 0.001, 0.001, 1e9 + 1), StageTimer("predict", 0.003, 0.003, 1e9 + 2)
    return BatchStages(time.monotonic(), 1e9, batch, predict)


def _encode(probabilities: Probabilities, context: dict[str, Any]) -> Response:
    """A number as text; it raises for 13."""
    [number] = probabilities.tolist()
    if number == 13:
        raise ZeroDivisionError("secret")
    names = ", ".join(stage.stage for stage in context["stages"])
    return Response(f"{number:g}", media_type="application/json", headers={"Server-Timing": names})


class _Exchange:
    """One HTTP process's end of a transport, and the worker's."""

    def __init__(self) -> None:
        self.table = RequestTable(16, slots=8, processes=2, labels=1, devices=1, workers_per_device=1)
        self.transport = TableTransport(self.table, 2, _encode)
        self._received: asyncio.Queue[tuple[str, Response]] = asyncio.Queue()

    def put(
        self, uid: str, *, time_left_s: float = _LONG_S, is_gone: bool = False, client: _Client | None = None
    ) -> int:
        """Submit a request whose answer will be received; its slot."""
        slot, answer = self.submit(time_left_s, client or _Client(is_gone=is_gone))
        answer.add_done_callback(lambda _: self._received.put_nowait((uid, answer.result())))
        return slot

    def submit(
        self, time_left_s: float = _LONG_S, client: _Client | None = None
    ) -> "tuple[int, asyncio.Future[Response]]":
        """Submit a request, as the endpoint does; its slot and its answer."""
        slot = self.table.arrive(1)
        assert slot is not None
        request = cast("Request", client or _Client(is_gone=False))
        decoding = StageTimer("decode", 0.002, 0.001, 1e9)
        image = DecodedImage(slot, time.monotonic() + time_left_s, _PIXELS, decoding, request)
        return slot, self.transport.submit(image)

    def answer(self, slot: int, value: float) -> None:
        """As a worker's loop does when it has one request in its batch."""
        self.transport.answer([slot], np.array([[value]], np.float32), _stages())

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator["asyncio.Queue[tuple[str, Response]]"]:
        """Answers as they come, while an HTTP process attends to its requests."""
        task = asyncio.create_task(self.transport.areceive(1))
        await _until(lambda: self.table.is_open)
        try:
            yield self._received
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await _until(lambda: not self.table.is_open)


async def _until(condition: Any) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.001)


async def _next(received: "asyncio.Queue[tuple[str, Response]]") -> tuple[str, Response]:
    return await asyncio.wait_for(received.get(), 30)


def _ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


async def test_each_answer_finds_its_request() -> None:
    """In whatever order; with its own number, and with the stages of both sides in their order."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slots = [exchange.put(uid) for uid in "abc"]
        assert exchange.table.take(9) == slots
        exchange.answer(slots[2], 3)
        exchange.transport.answer([slots[0], slots[1]], np.array([[1], [2]], np.float32), _stages())
        answers = dict([await _next(received) for _ in slots])
        assert {uid: bytes(answer.body) for uid, answer in answers.items()} == {"a": b"1", "b": b"2", "c": b"3"}
        for answer in answers.values():
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
            assert answer.headers["server-timing"] == "decode, queue, batch, predict"
        assert [exchange.table.arrive(1) for _ in slots] == slots, "they are free again"


async def test_a_request_is_told_how_long_it_was_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its batch was collected."""
    exchange, told = _Exchange(), list[dict[str, Any]]()

    def encode(_: Probabilities, context: dict[str, Any]) -> Response:
        told.append(context)
        return Response()

    monkeypatch.setattr(exchange.transport, "_encode", encode)
    async with exchange.receiving() as received:
        slot = exchange.put("a")
        queued_at_s = exchange.table.queued_at_s(slot)
        exchange.table.take(1)
        stages = replace(_stages(), began_s=queued_at_s + 0.75)
        exchange.transport.answer([slot], np.ones((1, 1), np.float32), stages)
        await _next(received)
        [context] = told
        assert [stage.duration_s for stage in context["stages"]] == pytest.approx([0.002, 0.75, 0.001, 0.003])


async def test_a_prediction_that_failed_is_a_500_that_tells_nothing() -> None:
    """With the stage that the request has passed."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slot = exchange.put("a")
        exchange.table.take(1)
        exchange.transport.fail([slot])
        uid, response = await _next(received)
        assert (uid, response.status_code) == ("a", 500)
        assert bytes(response.body) == b'{"detail": "the prediction failed"}'
        assert response.headers["server-timing"] == "decode;dur=2.000;cpu=1.000;end=1000000000.000000"


async def test_an_answer_that_cannot_be_encoded_is_a_500_and_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the error, its client doesn't."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slots = [exchange.put(uid) for uid in "abc"]
        exchange.table.take(9)
        exchange.transport.answer(slots, np.array([[1], [13], [2]], np.float32), _stages())
        answers = dict([await _next(received) for _ in slots])
        assert {uid: (answer.status_code, bytes(answer.body)) for uid, answer in answers.items()} == {
            "a": (200, b"1"),
            "b": (500, b'{"detail": "the prediction failed"}'),
            "c": (200, b"2"),
        }
        assert "ZeroDivisionError: secret" in caplog.text


async def test_a_request_that_is_not_awaited_any_more_costs_no_other() -> None:
    """Its HTTP process has cancelled it: there is no time left for it to drain."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        cancelled = exchange.submit()
        cancelled[1].cancel()
        slot = exchange.put("a")
        exchange.table.take(9)
        exchange.transport.answer([cancelled[0], slot], np.ones((2, 1), np.float32), _stages())
        assert (await _next(received))[0] == "a"


async def test_an_answer_wakes_the_http_processes_that_wait_for_it_and_no_other() -> None:
    exchange = _Exchange()
    slots = [exchange.put("a"), exchange.put("b")]
    exchange.table.take(9)
    exchange.transport.answer(slots, np.zeros((2, 1), np.float32), _stages())
    wakeups = [reader for reader, _ in exchange.transport._wakeups]
    assert wakeups[1].recv(4096) == b"\0", "one byte for all that it waits for"
    with pytest.raises(BlockingIOError):
        wakeups[0].recv(4096, socket.MSG_DONTWAIT)


async def test_what_a_dead_worker_had_is_told_to_come_again() -> None:
    """And nobody else: what is still queued goes to another worker."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        lost, queued = exchange.put("lost"), exchange.put("queued")
        exchange.table._states[lost] = _ended_process()
        uid, response = await _next(received)
        assert (uid, response.status_code, response.headers["retry-after"]) == ("lost", 503, "1")
        assert exchange.table.queued(1) == [queued]
        assert exchange.table.arrive(1) == lost


async def test_what_a_worker_answered_before_it_ended_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was seen at work just before, and has ended when it's looked for."""
    exchange, ended, looks = _Exchange(), _ended_process(), 0

    def taken_just_before(_: int) -> list[tuple[int, int]]:
        nonlocal looks
        looks += 1
        return [(slot, ended)]

    async with exchange.receiving() as received:
        slot = exchange.put("a")
        monkeypatch.setattr(exchange.table, "fetch", lambda _: [])
        exchange.answer(slot, 7)
        monkeypatch.setattr(exchange.table, "taken", taken_just_before)
        await _until(lambda: looks > 1)
        monkeypatch.undo()
        uid, response = await _next(received)
        assert (uid, response.status_code, bytes(response.body)) == ("a", 200, b"7")


async def test_past_its_deadline_a_request_is_answered_and_not_predicted() -> None:
    """No worker has begun with it: none will."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        exchange.put("late", time_left_s=0.2)
        uid, response = await _next(received)
        assert (uid, response.status_code) == ("late", 504)
        assert exchange.table.take(9) == []


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    """Its slot is kept until then: the worker still reads and writes there."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slot = exchange.put("late", time_left_s=0.2)
        assert exchange.table.take(9) == [slot]
        assert (await _next(received))[1].status_code == 504
        assert exchange.table.taken(1) == [(slot, os.getpid())]
        exchange.answer(slot, 7)
        await _until(lambda: exchange.table.arrive(1) == slot)
        assert received.empty()


async def test_a_request_whose_client_has_gone_is_not_predicted() -> None:
    """Once it has waited for a while, and if no worker has it."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        gone, there = exchange.put("gone", is_gone=True), exchange.put("there")
        begun = exchange.put("begun", is_gone=True)
        exchange.table._states[begun] = os.getpid()
        exchange.table._queued_at_s[[gone, there, begun]] -= 2.0
        young = exchange.put("young", is_gone=True)
        uid, response = await _next(received)
        assert (uid, response.status_code) == ("gone", 499)
        assert exchange.table.take(9) == [there, young]


async def test_a_slot_that_gets_another_request_while_a_client_is_asked_for_is_left_alone() -> None:
    """The first is answered in the meantime; the second's client has not gone."""
    exchange = _Exchange()
    was_asked = asyncio.Event()

    class Leaving(_Client):
        async def is_disconnected(self) -> bool:
            [taken] = exchange.table.take(1)
            exchange.answer(taken, 1)
            await _until(lambda: (exchange.table._states == 0).all())
            exchange.put("second")
            was_asked.set()
            return True

    async with exchange.receiving() as received:
        slot = exchange.put("first", client=Leaving(is_gone=True))
        exchange.table._queued_at_s[slot] -= 2.0
        await asyncio.wait_for(was_asked.wait(), 30)
        assert exchange.table.take(9) == [slot]
        exchange.answer(slot, 2)
        assert [(uid, response.body) for uid, response in [await _next(received), await _next(received)]] == [
            ("first", b"1"),
            ("second", b"2"),
        ]


async def test_an_answer_is_found_without_its_wakeup() -> None:
    """A worker that is killed may have written the answer and rung for nobody."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slot = exchange.put("a")
        exchange.table.take(1)
        exchange.table.answer([slot], np.ones((1, 1), np.float32), _stages())
        uid, response = await _next(received)
        assert (uid, response.status_code, bytes(response.body)) == ("a", 200, b"1")


async def test_an_idle_http_process_sleeps_until_a_request_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks once whether there is something to look after, and again when the request has been answered."""
    exchange, asked = _Exchange(), list[bool]()

    def is_empty(table: RequestTable) -> bool:
        asked.append(not table._states.any())
        return asked[-1]

    monkeypatch.setattr(RequestTable, "is_empty", property(is_empty))
    async with exchange.receiving() as received:
        await _until(lambda: exchange.transport._is_busy._waiters)
        assert asked == [True]
        slot = exchange.put("a")
        await _until(lambda: len(asked) > 2)
        assert asked[1:] == [False] * (len(asked) - 1)
        exchange.table.take(1)
        exchange.answer(slot, 1)
        await _next(received)
        await _until(lambda: asked[-1])


async def test_more_wakeups_than_a_socket_holds_block_nobody() -> None:
    """It is told that there are answers, not how many: a full socket says so, too."""
    exchange = _Exchange()
    slot = exchange.put("a")
    exchange.table.take(1)
    for _ in range(5_000):
        exchange.answer(slot, 1)
    async with exchange.receiving() as received:
        assert (await _next(received))[0] == "a"


async def test_an_http_process_that_can_answer_nobody_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to keep its clients waiting; whoever watches it sees that."""
    exchange = _Exchange()
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    async with exchange.receiving():
        exchange.put("a")
        monkeypatch.delattr(exchange.table, "_states")
        await _until(lambda: raised == [signal.SIGTERM])

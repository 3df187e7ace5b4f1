"""An answer finds its request; a request without hope of one is answered all the same."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest
from fastapi import Request, Response
from litserve.utils import LitAPIStatus, LoopResponseType

from service.images import Pixels
from service.stages import StageTimer
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


class _Exchange:
    """One HTTP process's end of a transport, and the worker's."""

    def __init__(self) -> None:
        self.table = RequestTable(16, slots=4, processes=2, answer_bytes=1_000)
        self.transport = TableTransport(self.table, processes=2)

    def put(
        self, uid: str, *, time_left_s: float = _LONG_S, is_gone: bool = False, client: _Client | None = None
    ) -> int:
        """A request, as LitServe puts it into its queue; its slot."""
        slot = self.table.arrive(1)
        assert slot is not None
        request = cast("Request", client or _Client(is_gone=is_gone))
        decoding = StageTimer("decode", 0.002, 0.001, 1e9)
        image = DecodedImage(slot, time.monotonic() + time_left_s, _PIXELS, decoding, request)
        self.transport.put((1, uid, time.monotonic(), image))
        return slot

    def send(self, slot: int, answer: object, status: str = LitAPIStatus.OK) -> None:
        """What LitServe's loop sends when a worker has an answer."""
        self.transport.send((slot, (answer, status, LoopResponseType.REGULAR, 0)), 1)

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator["asyncio.Queue[tuple[str, Response]]"]:
        """Answers as LitServe's task receives them."""
        received: asyncio.Queue[tuple[str, Response]] = asyncio.Queue()

        async def receive() -> None:
            while True:
                uid, (response, status, kind, _) = await self.transport.areceive(1)
                assert (status, kind) == (LitAPIStatus.OK, LoopResponseType.REGULAR)
                received.put_nowait((uid, response))

        task = asyncio.create_task(receive())
        await _until(lambda: self.table.is_open)
        try:
            yield received
        finally:
            task.cancel()
            await asyncio.wait([task])
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
    """In whatever order; with its status, its body, and the stages of both sides."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slots = [exchange.put(uid) for uid in "abc"]
        assert exchange.table.take(9) == slots
        for slot, body in ((slots[2], "third"), (slots[0], "first"), (slots[1], "second")):
            exchange.send(slot, Response(body, media_type="application/json", headers={"Server-Timing": "queue;dur=1"}))
        answers = dict([await _next(received) for _ in slots])
        assert {uid: bytes(answer.body) for uid, answer in answers.items()} == {
            "a": b"first",
            "b": b"second",
            "c": b"third",
        }
        for answer in answers.values():
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
            assert answer.headers["server-timing"].startswith("decode;dur=2.000;cpu=1.000;end=")
            assert answer.headers["server-timing"].endswith(", queue;dur=1")
        assert [exchange.table.arrive(1) for _ in slots] == slots, "they are free again"


@pytest.mark.parametrize("answer", [b"a pickle", ValueError("secret"), None, Response("secret")])
async def test_a_prediction_that_failed_is_a_500_that_tells_nothing(answer: object) -> None:
    """LitServe sends the pickle of an exception; nobody loads it."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slot = exchange.put("a")
        exchange.table.take(1)
        exchange.send(slot, answer, LitAPIStatus.ERROR)
        uid, response = await _next(received)
        assert (uid, response.status_code) == ("a", 500)
        assert bytes(response.body) == b'{"detail": "the prediction failed"}'
        assert response.headers["server-timing"] == "decode;dur=2.000;cpu=1.000;end=1000000000.000000"


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
        monkeypatch.setattr(exchange.table, "answered", lambda _: [])
        exchange.send(slot, Response("answer"))
        monkeypatch.setattr(exchange.table, "taken", taken_just_before)
        await _until(lambda: looks > 1)
        monkeypatch.undo()
        uid, response = await _next(received)
        assert (uid, response.status_code, bytes(response.body)) == ("a", 200, b"answer")


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
        exchange.send(slot, Response("late"))
        await _until(lambda: not exchange.table.taken(1) and not exchange.table.answered(1))
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
            exchange.send(taken, Response("first"))
            await _until(lambda: not exchange.table.answered(1))
            exchange.put("second")
            was_asked.set()
            return True

    async with exchange.receiving() as received:
        slot = exchange.put("first", client=Leaving(is_gone=True))
        exchange.table._queued_at_s[slot] -= 2.0
        await asyncio.wait_for(was_asked.wait(), 30)
        assert exchange.table.take(9) == [slot]
        exchange.send(slot, Response("second"))
        assert [(uid, response.body) for uid, response in [await _next(received), await _next(received)]] == [
            ("first", b"first"),
            ("second", b"second"),
        ]


async def test_an_answer_is_found_without_its_wakeup() -> None:
    """A worker that is killed may have written the answer and rung for nobody."""
    exchange = _Exchange()
    async with exchange.receiving() as received:
        slot = exchange.put("a")
        exchange.table.take(1)
        exchange.table.answer(slot, b"\xc8\x00\x00\x00\x00\x00quiet")
        uid, response = await _next(received)
        assert (uid, response.status_code, bytes(response.body)) == ("a", 200, b"quiet")


async def test_more_wakeups_than_a_socket_holds_block_nobody() -> None:
    """It is told that there are answers, not how many: a full socket says so, too."""
    exchange = _Exchange()
    slot = exchange.put("a")
    exchange.table.take(1)
    for _ in range(5_000):
        exchange.send(slot, Response("answer"))
    async with exchange.receiving() as received:
        assert (await _next(received))[0] == "a"


async def test_an_http_process_that_can_answer_nobody_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than to keep its clients waiting; whoever watches it sees that."""
    exchange = _Exchange()
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    async with exchange.receiving():
        monkeypatch.delattr(exchange.table, "_states")
        await _until(lambda: raised == [signal.SIGTERM])

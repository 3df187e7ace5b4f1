"""From an HTTP process to a worker and back, by way of the request table: LitServe's queue and transport in one.

What this replaces are queues in a process of their own: six messages a request, and a worker that is killed takes
with it what it was about to get. Here a worker's death costs nobody else anything, and what it had is answered at once.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import time
import weakref
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from fastapi import Request, Response
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType

from service.images import Pixels
from service.stages import StageTimer
from service.transport.request_table import RequestTable

_LOG = logging.getLogger(__name__)
RETRY_AFTER = {"Retry-After": "1"}
_LOOK_EVERY_S = 0.1
# Younger requests have clients that still wait; to ask costs more than they would gain.
_CLIENT_MAY_BE_GONE_AFTER_S = 1.0
_CLIENT_CLOSED_REQUEST = 499  # as nginx has it; nobody reads the answer
_HEAD = struct.Struct("<HI")


@dataclass(frozen=True)
class DecodedImage:
    """One request on its way through the service, as its HTTP process knows it.

    Attributes
    ----------
    slot:
        Its slot in the request table.
    deadline_s:
        `time.monotonic()` when it must be answered at the latest.
    pixels:
        uint8 RGB of shape (size, size, 3).
    decoding:
        What it took.
    request:
        Knows whether its client is still there.
    """

    slot: int
    deadline_s: float
    # LitServe formats each request for a log line that is hardly ever written; an array's digits would take a while.
    pixels: Pixels = field(repr=False)
    decoding: StageTimer = field(repr=False)
    request: Request = field(repr=False)


class TableTransport(MessageTransport):  # type: ignore[misc]  # litserve ships no types
    """LitServe's request queue, as far as it puts requests there, and its transport of answers.

    The HTTP process looks ten times a second for requests whose worker has ended, whose deadline has passed or whose
    client has gone: each is answered then, and isn't predicted if no worker has begun with it.
    """

    def __init__(self, table: RequestTable, processes: int) -> None:
        self._table = table
        # A byte for an HTTP process says: there are answers. Lost or too many, it does no harm.
        self._wakeups = [socket.socketpair() for _ in range(processes)]
        for end in chain.from_iterable(self._wakeups):
            weakref.finalize(self, end.close)
        self._waiting: dict[int, tuple[str, DecodedImage]] = {}
        # Made in the HTTP process, with its event loop.
        self._replies: asyncio.Queue[tuple[str, tuple[Response, str, LoopResponseType, None]]] | None = None

    # What LitServe calls in an HTTP process.

    def put(self, item: tuple[int, str, float, DecodedImage]) -> None:
        """Queue a request; LitServe's consumer is the HTTP process."""
        _, uid, _, image = item
        self._waiting[image.slot] = uid, image
        self._table.queue(image.slot, image.pixels)

    async def areceive(self, consumer_id: int, timeout: float | None = None, block: bool = True) -> Any:  # noqa: ARG002
        """Wait for the next answer, as LitServe wants it: (request, (response, status, type, worker))."""
        if self._replies is None:
            self._replies = asyncio.Queue()
            self._attendant = asyncio.create_task(self._attend(consumer_id))
            self._attendant.add_done_callback(_end_if_it_failed)
        try:
            return await self._replies.get()
        except asyncio.CancelledError:
            self._attendant.cancel()
            raise

    def close(self, send_sentinel: bool = True) -> None:
        """Nothing to do: `areceive` ends with the HTTP process."""

    async def _attend(self, process: int) -> None:
        loop, wakeup = asyncio.get_running_loop(), self._wakeups[process][0]

        def on_wakeup() -> None:
            wakeup.recv(4096)
            self._fetch(process)

        loop.add_reader(wakeup, on_wakeup)
        self._table.open(process, is_open=True)
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                self._fetch(process)
                self._expire_requests(process)
                await self._drop_disconnected(process)
        finally:
            self._table.open(process, is_open=False)
            loop.remove_reader(wakeup)

    def _reply(self, slot: int, response: Response) -> None:
        assert self._replies is not None, "made by areceive"
        uid, _ = self._waiting.pop(slot)
        self._replies.put_nowait((uid, (response, LitAPIStatus.OK, LoopResponseType.REGULAR, None)))

    def _fetch(self, process: int) -> None:
        for slot in self._table.answered(process):
            answer = self._table.fetch(slot)
            if slot in self._waiting:  # else it came too late
                self._reply(slot, _unpack(answer, self._waiting[slot][1].decoding))

    def _expire_requests(self, process: int) -> None:
        for slot, worker in self._table.taken(process):
            if not _is_alive(worker) and self._table.reclaim(slot, worker) and slot in self._waiting:
                self._reply(slot, refusal(503, "the worker that had this image in hand has ended; try again"))
        now_s = time.monotonic()
        for slot, (_, image) in list(self._waiting.items()):
            if now_s > image.deadline_s:
                # A worker that has it keeps the slot until it has answered, for nobody.
                self._table.withdraw(slot)
                self._reply(slot, refusal(504, "there was no time left to predict this image"))

    async def _drop_disconnected(self, process: int) -> None:
        oldest_s = time.monotonic() - _CLIENT_MAY_BE_GONE_AFTER_S
        queued = [slot for slot in self._table.queued(process) if self._table.queued_at_s(slot) < oldest_s]
        for slot, waiting in [(slot, self._waiting.get(slot)) for slot in queued]:
            if waiting is None or not await waiting[1].request.is_disconnected():
                continue
            # Meanwhile the slot may have got another request, or a worker.
            if self._waiting.get(slot) is waiting and self._table.withdraw(slot):
                self._reply(slot, refusal(_CLIENT_CLOSED_REQUEST, "the client has gone"))

    # What LitServe calls in a worker.

    def send(self, item: tuple[int, tuple[Any, ...]], consumer_id: int) -> None:  # noqa: ARG002
        """Answer the request at a slot: with the API's response, or with 500 where it raised."""
        slot, (answer, status, *_) = item
        if status != LitAPIStatus.OK or not isinstance(answer, Response):
            answer = refusal(500, "the prediction failed")
        process = self._table.answer(slot, _pack(answer))
        try:
            self._wakeups[process][1].send(b"\0", socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass  # it has more than enough of them to wake up


def refusal(status: int, detail: str) -> Response:
    """A sentence for the client, as FastAPI's HTTPException answers it."""
    body = json.dumps({"detail": detail})
    return Response(body, status, RETRY_AFTER if status == 503 else None, media_type="application/json")


def _pack(response: Response) -> bytes:
    timing = response.headers.get("server-timing", "").encode()
    return _HEAD.pack(response.status_code, len(timing)) + timing + bytes(response.body)


def _unpack(packed: bytes, decoding: StageTimer) -> Response:
    status, timing_bytes = _HEAD.unpack_from(packed)
    end = _HEAD.size + timing_bytes
    timing = ", ".join(filter(None, (str(decoding), packed[_HEAD.size : end].decode())))
    return Response(packed[end:], status, {"Server-Timing": timing}, media_type="application/json")


def _end_if_it_failed(attendant: "asyncio.Task[None]") -> None:
    """Nobody would be answered any more: better that this HTTP process ends."""
    if not attendant.cancelled() and (error := attendant.exception()):
        _LOG.critical("the requests in flight can't be looked after", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # the latter: its number is another user's process by now
        return False
    return True

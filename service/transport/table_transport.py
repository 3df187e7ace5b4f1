"""TableTransport: LitServe's request queue and its transport of answers in one, on top of the request table.

It replaces queues that live in a process of their own and take six messages a request. There, a worker that is killed
loses the requests that were on their way to it. Here, a killed worker costs no other request anything, and its own
requests are answered at once.
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
# Check only older requests for disconnection: the check costs more than it saves on young ones.
_CLIENT_MAY_BE_GONE_AFTER_S = 1.0
_CLIENT_CLOSED_REQUEST = 499  # nginx's status; no client reads it
_HEAD = struct.Struct("<HI")


@dataclass(frozen=True)
class DecodedImage:
    """One request on its way through the service, as its HTTP process knows it.

    Attributes
    ----------
    slot:
        Its slot in the request table.
    deadline_s:
        The latest `time.monotonic()` at which it must be answered.
    pixels:
        uint8 RGB of shape (size, size, 3).
    decoding:
        How long decoding took.
    request:
        The request itself, which knows whether its client is still connected.
    """

    slot: int
    deadline_s: float
    # LitServe formats each request for a debug line that is hardly ever written. Without repr=False that would format a
    # whole array.
    pixels: Pixels = field(repr=False)
    decoding: StageTimer = field(repr=False)
    request: Request = field(repr=False)


class TableTransport(MessageTransport):  # type: ignore[misc]  # litserve ships no types
    """Takes requests as LitServe's request queue does, and answers as LitServe's transport does.

    Ten times a second the HTTP process looks for requests whose worker has ended, whose deadline has passed or whose
    client has disconnected. It answers each of them then, and no worker predicts them unless it has already begun.
    """

    def __init__(self, table: RequestTable, processes: int) -> None:
        self._table = table
        # A byte wakes an HTTP process up to fetch answers. A byte that is lost, or one too many, does no harm.
        self._wakeups = [socket.socketpair() for _ in range(processes)]
        for end in chain.from_iterable(self._wakeups):
            weakref.finalize(self, end.close)
        self._waiting: dict[int, tuple[str, DecodedImage]] = {}
        # `areceive` makes it, in the HTTP process and with its event loop.
        self._replies: asyncio.Queue[tuple[str, tuple[Response, str, LoopResponseType, None]]] | None = None

    # LitServe calls these in an HTTP process.

    def put(self, item: tuple[int, str, float, DecodedImage]) -> None:
        """Queue a request. LitServe's item is (number of the HTTP process, id, time, request)."""
        _, uid, _, image = item
        self._waiting[image.slot] = uid, image
        self._table.queue(image.slot, image.pixels)

    async def areceive(self, consumer_id: int, timeout: float | None = None, block: bool = True) -> Any:  # noqa: ARG002
        """Wait for the next answer. LitServe's item is (id of the request, (response, status, type, worker))."""
        if self._replies is None:
            self._replies = asyncio.Queue()
            self._attendant = asyncio.create_task(self._attend(consumer_id))
            self._attendant.add_done_callback(_end_process_on_failure)
        try:
            return await self._replies.get()
        except asyncio.CancelledError:
            self._attendant.cancel()
            raise

    def close(self, send_sentinel: bool = True) -> None:
        """Do nothing: `areceive` ends with the HTTP process."""

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
            if slot in self._waiting:  # otherwise the answer came after the deadline
                self._reply(slot, _unpack(answer, self._waiting[slot][1].decoding))

    def _expire_requests(self, process: int) -> None:
        for slot, worker in self._table.taken(process):
            if not _is_alive(worker) and self._table.reclaim(slot, worker) and slot in self._waiting:
                self._reply(slot, refusal(503, "the worker that had this image in hand has ended; try again"))
        now_s = time.monotonic()
        for slot, (_, image) in list(self._waiting.items()):
            if now_s > image.deadline_s:
                # If a worker has the request, its slot stays taken until the worker has answered.
                self._table.withdraw(slot)
                self._reply(slot, refusal(504, "there was no time left to predict this image"))

    async def _drop_disconnected(self, process: int) -> None:
        oldest_s = time.monotonic() - _CLIENT_MAY_BE_GONE_AFTER_S
        queued = [slot for slot in self._table.queued(process) if self._table.queued_at_s(slot) < oldest_s]
        for slot, waiting in [(slot, self._waiting.get(slot)) for slot in queued]:
            if waiting is None or not await waiting[1].request.is_disconnected():
                continue
            # During the await another request may have got the slot, or a worker may have taken this one.
            if self._waiting.get(slot) is waiting and self._table.withdraw(slot):
                self._reply(slot, refusal(_CLIENT_CLOSED_REQUEST, "the client has gone"))

    # LitServe calls this in a worker.

    def send(self, item: tuple[int, tuple[Any, ...]], consumer_id: int) -> None:  # noqa: ARG002
        """Answer the request in a slot: with the API's response, or with 500 if the API raised an exception."""
        slot, (answer, status, *_) = item
        if status != LitAPIStatus.OK or not isinstance(answer, Response):
            answer = refusal(500, "the prediction failed")
        process = self._table.answer(slot, _pack(answer))
        try:
            self._wakeups[process][1].send(b"\0", socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass  # the socket is full, so there is a byte that wakes the HTTP process up


def refusal(status: int, detail: str) -> Response:
    """Make an answer with a sentence for the client, in the form of FastAPI's HTTPException."""
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


def _end_process_on_failure(attendant: "asyncio.Task[None]") -> None:
    """End this HTTP process when its attendant has failed: it could not answer any request any more."""
    if not attendant.cancelled() and (error := attendant.exception()):
        _LOG.critical("the requests in flight can't be looked after", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # the latter: another user's process has got the id
        return False
    return True

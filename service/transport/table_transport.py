"""TableTransport: from the endpoint to a worker and back, on top of the request table, as LitServe's transport.

It replaces LitServe's queues, which live in a process of their own and take six messages a request. There, a worker
that is killed loses the requests that were on their way to it. Here, a killed worker costs no other request anything,
and its own requests are answered at once.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from fastapi import Request, Response
from litserve.transport.base import MessageTransport

from service import metrics
from service.images import Pixels
from service.predictions import Probabilities
from service.stages import BatchStages, StageTimer
from service.transport.request_table import Answer, RequestTable

_LOG = logging.getLogger(__name__)
RETRY_AFTER = {"Retry-After": "1"}
_LOOK_EVERY_S = 0.1
# Check only older requests for disconnection: the check costs more than it saves on young ones.
_CLIENT_MAY_BE_GONE_AFTER_S = 1.0
_CLIENT_CLOSED_REQUEST = 499  # nginx's status; no client reads it


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
        The time that decoding took.
    request:
        The request itself, which knows whether its client is still connected.
    """

    slot: int
    deadline_s: float
    pixels: Pixels
    decoding: StageTimer
    request: Request


Encode = Callable[[Probabilities, dict[str, Any]], Response]


class TableTransport(MessageTransport):  # type: ignore[misc]  # litserve ships no types
    """Takes decoded images, and answers each with a future.

    While there are requests, the HTTP process looks ten times a second for those whose worker has ended, whose deadline
    has passed or whose client has disconnected. It answers each of them then, and no worker predicts them unless it has
    already begun.

    Parameters
    ----------
    processes:
        The number of HTTP processes.
    encode:
        Makes a response of a request's probabilities, and of a context whose `stages` are its stages so far.
    """

    def __init__(self, table: RequestTable, processes: int, encode: Encode) -> None:
        self._table, self._encode = table, encode
        # A byte wakes an HTTP process up to fetch answers. A byte that is lost, or one too many, does no harm.
        self._wakeups = [socket.socketpair() for _ in range(processes)]
        for end in chain.from_iterable(self._wakeups):
            weakref.finalize(self, end.close)
        self._waiting: dict[int, tuple[asyncio.Future[Response], DecodedImage]] = {}
        self._is_busy = asyncio.Event()

    # An HTTP process calls these.

    def submit(self, image: DecodedImage) -> "asyncio.Future[Response]":
        """Queue a request, and promise its answer."""
        answer = asyncio.get_running_loop().create_future()
        self._is_busy.set()
        self._waiting[image.slot] = answer, image
        self._table.queue(image.slot, image.pixels)
        return answer

    async def areceive(self, consumer_id: int, timeout: float | None = None, block: bool = True) -> Any:  # noqa: ARG002
        """Attend to the requests of an HTTP process until it ends: LitServe awaits answers here, and gets none."""
        try:
            await self._attend(consumer_id)
        except Exception:
            # No request could be answered any more.
            _LOG.critical("the requests in flight can't be looked after", exc_info=True)
            signal.raise_signal(signal.SIGTERM)
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
                if self._table.is_empty:
                    # Each wakeup costs an idle server CPU time, whatever it does then.
                    self._is_busy.clear()
                    await self._is_busy.wait()
                await asyncio.sleep(_LOOK_EVERY_S)
                self._fetch(process)
                self._expire_requests(process)
                await self._drop_disconnected(process)
        finally:
            self._table.open(process, is_open=False)
            loop.remove_reader(wakeup)

    def _reply(self, slot: int, response: Response) -> None:
        answer, _ = self._waiting.pop(slot)
        if not answer.done():  # it is cancelled where the HTTP process has to end before its requests do
            answer.set_result(response)

    def _fetch(self, process: int) -> None:
        for answer in self._table.fetch(process):
            if answer.slot in self._waiting:  # otherwise the answer came after the deadline
                _, image = self._waiting[answer.slot]
                self._reply(answer.slot, self._respond(answer, image.decoding))

    def _respond(self, answer: Answer, decoding: StageTimer) -> Response:
        if answer.probabilities is not None:
            stages = BatchStages.from_numbers(answer.stages).list_for_request(answer.queued_at_s)
            metrics.observe_stage(stages[0])
            try:
                return self._encode(answer.probabilities, {"stages": [decoding, *stages]})
            except Exception:  # the other answers are still to be sent
                _LOG.exception("an answer could not be encoded")
        response = refusal(500, "the prediction failed")
        response.headers["Server-Timing"] = str(decoding)
        return response

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

    # A worker's loop calls these.

    def answer(self, slots: Sequence[int], probabilities: Probabilities, stages: BatchStages) -> None:
        """Answer the requests of a batch, see `RequestTable.answer`."""
        self._table.answer(slots, probabilities, stages)
        self._wake(slots)

    def fail(self, slots: Sequence[int]) -> None:
        """Answer 500 to the requests of a batch."""
        self._table.fail(slots)
        self._wake(slots)

    def _wake(self, slots: Sequence[int]) -> None:
        for process in self._table.owners(slots):
            try:
                self._wakeups[process][1].send(b"\0", socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass  # the socket is full, so there is a byte that wakes the HTTP process up

    def send(self, item: object, consumer_id: int) -> None:
        """Refuse a single answer: LitServe's own loops send those."""
        raise NotImplementedError("a worker answers whole batches, see `FairShareLoop`")


def refusal(status: int, detail: str) -> Response:
    """Make an answer with a sentence for the client, in the form of FastAPI's HTTPException."""
    body = json.dumps({"detail": detail})
    return Response(body, status, RETRY_AFTER if status == 503 else None, media_type="application/json")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # the latter: another user's process has got the id
        return False
    return True

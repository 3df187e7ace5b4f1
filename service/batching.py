"""When a batch is closed: the loop that LitServe runs in each worker, and what it must know to close one early.

LitServe's own loop waits the whole window out, also for a single request, and the first worker to wake takes all that
has come, so of two workers one can stay idle for as long as the load lasts. This loop closes a batch when nobody else
is on the way, and leaves the other free workers their share.
"""

import math
import multiprocessing
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import Any

from litserve import LitAPI
from litserve.loops import BatchedLoop
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType

MAX_WORKERS = 256
_IDLE_S = 1.0
_POLL_S = 0.001

# LitServe's internal types: what a request is in its queue, and (consumer, id, payload) or (consumer, id) out of it.
_Batch = list[tuple[int, str, Any]]
_TimedOut = list[tuple[int, str]]


class Occupancy:
    """How many requests are on the way to a batch and which workers are free, shared by all processes.

    A count that is wrong for once (a process was killed) costs at most the batch window: it only decides when a batch
    is closed before its time.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._arriving = context.Value("i", 0)
        self._is_free = context.Array("b", MAX_WORKERS)

    def arrive(self) -> None:
        """A request was admitted; it will join a batch or `leave`."""
        with self._arriving.get_lock():
            self._arriving.value += 1

    def leave(self) -> None:
        """A request joined a batch or was answered without one."""
        with self._arriving.get_lock():
            self._arriving.value -= 1

    def set_free(self, worker_id: int, *, free: bool) -> None:
        """Whether the worker could take a batch now."""
        self._is_free[worker_id] = free

    @property
    def arriving(self) -> int:
        """Requests that were admitted and are in no batch."""
        arriving: int = self._arriving.value
        return max(0, arriving)

    @property
    def free_workers(self) -> int:
        """Workers that could take a batch now."""
        return sum(self._is_free[:])


class FairShareLoop(BatchedLoop):  # type: ignore[misc]  # litserve ships no types
    """Collects a worker's share of the requests that are on the way, for the batch window at most.

    Parameters
    ----------
    drop:
        Told of the payload of each request that waited too long to be predicted.
    """

    def __init__(self, occupancy: Occupancy, drop: Callable[[Any], None]) -> None:
        super().__init__()
        self._occupancy = occupancy
        self._drop = drop

    def get_batch_requests(
        self, lit_api: LitAPI, request_queue: "Queue[Any]", transport: MessageTransport
    ) -> tuple[_Batch, _TimedOut]:
        """Wait for a request, then for company. Both lists are empty when none came for a while."""
        batch: _Batch = []
        timed_out: _TimedOut = []
        self._occupancy.set_free(self.worker_id or 0, free=True)
        try:
            wait_s, end_s = _IDLE_S, math.inf
            while len(batch) < self._share(len(batch), lit_api.max_batch_size) and time.monotonic() < end_s:
                try:
                    consumer, uid, submitted_s, payload = request_queue.get(timeout=wait_s)
                except Empty:
                    if not batch:
                        break
                    continue
                self._occupancy.leave()
                self._acknowledge(transport, consumer, uid)
                if time.monotonic() - submitted_s > lit_api.request_timeout:
                    self._drop(payload)
                    timed_out.append((consumer, uid))
                    continue
                if not batch:
                    wait_s, end_s = _POLL_S, time.monotonic() + lit_api.batch_timeout
                batch.append((consumer, uid, payload))
        finally:
            self._occupancy.set_free(self.worker_id or 0, free=False)
        return batch, timed_out

    def _share(self, taken: int, max_batch_size: int) -> int:
        """Requests that this worker should take before it closes its batch, one at least."""
        in_sight = taken + self._occupancy.arriving
        return min(max_batch_size, max(1, math.ceil(in_sight / max(1, self._occupancy.free_workers))))

    def _acknowledge(self, transport: MessageTransport, consumer: int, uid: str) -> None:
        """Tell the HTTP process which worker has the request; LitServe needs it when a worker dies."""
        self.put_response(
            transport=transport,
            response_queue_id=consumer,
            uid=uid,
            response_data=(),
            status=LitAPIStatus.START,
            response_type=LoopResponseType.REGULAR,
        )

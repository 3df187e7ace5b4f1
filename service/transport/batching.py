"""When a batch is closed: the loop that LitServe runs in each worker.

LitServe's own loop waits the whole window out, also for a single request, and the first worker to wake takes all that
has come, so of two workers one can stay idle for as long as the load lasts. This loop closes a batch when nobody else
is on the way, and leaves the other free workers their share.
"""

import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from queue import Queue
from typing import Any

from litserve import LitAPI
from litserve.loops import BatchedLoop
from litserve.transport.base import MessageTransport

from service.transport.request_table import RequestTable

_IDLE_S = 0.1
_POLL_S = 0.001


@dataclass(frozen=True)
class QueuedImage:
    """One request as a worker gets it.

    Attributes
    ----------
    slot:
        Where its image is.
    queued_at_s:
        `time.monotonic()` when it was put there.
    """

    slot: int
    queued_at_s: float


# LitServe's own: what it calls consumer is an HTTP process, its second item is what an answer is sent to.
_Batch = list[tuple[int, int, QueuedImage]]


class FairShareLoop(BatchedLoop):  # type: ignore[misc]  # litserve ships no types
    """Collects a worker's share of the requests that are on the way, for the batch window at most.

    A worker ends only when no HTTP process may need it any more: SIGTERM can come to all processes of the service at a
    time, and what is in flight is still answered. It also ends when the process that started it is gone.
    """

    def __init__(self, table: RequestTable) -> None:
        super().__init__()
        self._table = table
        self._is_stopping = False

    def stop(self) -> None:
        """End as soon as nobody needs this worker."""
        self._is_stopping = True

    def get_batch_requests(
        self,
        lit_api: LitAPI,
        request_queue: "Queue[Any]",  # noqa: ARG002  (LitServe's; ours is the table)
        transport: MessageTransport,  # noqa: ARG002
    ) -> tuple[_Batch, list[tuple[int, int]]]:
        """Wait for a request, then for company. The batch is empty when none came for a while.

        Raises
        ------
        SystemExit
            When this worker is to end.
        """
        worker = self.worker_id or 0
        self._table.collect(worker)
        slots = self._collect(lit_api)
        if slots:
            self._table.work(worker)
        else:
            self._end_if_left_alone()
            self._table.wait(worker, _IDLE_S)
        images = [QueuedImage(slot, self._table.queued_at_s(slot)) for slot in slots]
        # Nobody has waited too long: the HTTP process has taken those back.
        return [(image.slot // self._table.slots, image.slot, image) for image in images], []

    def _collect(self, lit_api: LitAPI) -> list[int]:
        slots: list[int] = []
        end_s = math.inf
        while (most := self._share(len(slots), lit_api.max_batch_size)) > len(slots) and time.monotonic() < end_s:
            taken = self._table.take(most - len(slots))
            if not (slots or taken):
                break
            if not slots:
                end_s = time.monotonic() + lit_api.batch_timeout
            elif not taken:
                time.sleep(_POLL_S)
            slots += taken
        return slots

    def _share(self, taken: int, max_batch_size: int) -> int:
        """Requests that this worker should take before it closes its batch, one at least."""
        in_sight = taken + self._table.in_sight
        return min(max_batch_size, max(1, math.ceil(in_sight / max(1, self._table.free_workers))))

    def _end_if_left_alone(self) -> None:
        parent = multiprocessing.parent_process()
        is_orphan = parent is not None and parent.pid != os.getppid()
        if is_orphan or (self._is_stopping and not self._table.is_open):
            self._table.leave(self.worker_id or 0)
            raise SystemExit(0)

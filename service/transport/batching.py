"""When a batch is closed: the loop that LitServe runs in each worker.

LitServe's own loop always waits for the whole batch window, even for a single request. The first worker to wake takes
all requests that have come, so one of two workers can stay idle as long as the load lasts. This loop closes a batch
when no other request is on the way, and leaves the other free workers their share.
"""

import math
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
        The slot of the request table that holds its image.
    queued_at_s:
        `time.monotonic()` when its image was written there.
    """

    slot: int
    queued_at_s: float


# LitServe's items: the number of the HTTP process that waits for the answer, the slot to send it to, and the input.
_Batch = list[tuple[int, int, QueuedImage]]


class FairShareLoop(BatchedLoop):  # type: ignore[misc]  # litserve ships no types
    """Collects a worker's share of the requests that are on the way, for the batch window at most.

    After `stop` the worker goes on until no HTTP process may have requests for it any more: SIGTERM may reach all
    processes of the service at once, and the requests in flight must still be answered.
    """

    def __init__(self, table: RequestTable) -> None:
        super().__init__()
        self._table = table
        self._is_stopping = False

    def stop(self) -> None:
        """End this worker as soon as no HTTP process needs it."""
        self._is_stopping = True

    def get_batch_requests(
        self,
        lit_api: LitAPI,
        request_queue: "Queue[Any]",  # noqa: ARG002  (LitServe passes its queue; this loop reads the table)
        transport: MessageTransport,  # noqa: ARG002
    ) -> tuple[_Batch, list[tuple[int, int]]]:
        """Wait for a request, then for others to join it. The batch is empty when no request came for a while.

        Raises
        ------
        SystemExit
            When this worker shall end.
        """
        worker = self.worker_id or 0
        self._table.collect(worker)
        slots = self._collect(lit_api)
        if slots:
            self._table.work(worker)
        elif self._is_stopping and not self._table.is_open:
            self._table.leave(worker)
            raise SystemExit(0)
        else:
            self._table.wait(worker, _IDLE_S)
        images = [QueuedImage(slot, self._table.queued_at_s(slot)) for slot in slots]
        # LitServe's list of timed-out requests is always empty: the HTTP process has withdrawn them.
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
        """How many requests this worker should have when it closes its batch, at least one."""
        in_sight = taken + self._table.in_sight
        return min(max_batch_size, max(1, math.ceil(in_sight / max(1, self._table.free_workers))))

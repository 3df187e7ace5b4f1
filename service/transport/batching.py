"""The loop that LitServe runs in each worker. It decides when a batch is closed.

LitServe's own loop always waits for the whole batch window, even for a single request. The first worker to wake takes
all requests that have come, so one of two workers can stay idle as long as the load lasts. This loop closes a batch
when no other request is on the way, and leaves the other free workers their share.
"""

import logging
import math
import time
from queue import Queue
from typing import Any

from litserve import LitAPI
from litserve.loops import LitLoop

from service.stages import BatchStages
from service.transport.request_table import RequestTable
from service.transport.table_transport import TableTransport

_LOG = logging.getLogger(__name__)
# Each wakeup costs an idle server CPU time. A worker that has been told to stop looks more often.
_IDLE_S = 2.0
_STOPPING_S = 0.1
_POLL_S = 0.001


class FairShareLoop(LitLoop):  # type: ignore[misc]  # litserve ships no types
    """Collects a worker's share of the requests that are on the way, for the batch window at most, and answers them.

    It writes probabilities and the batch's stages, once for all requests: the JSON and the header of each answer are
    made in its HTTP process. LitServe's own loop would do that here, request by request, while the device waits.

    After `stop` the worker goes on until no HTTP process may have requests for it any more: SIGTERM may reach all
    processes of the service at once, and the requests in flight must still be answered.
    """

    def __init__(self, table: RequestTable) -> None:
        super().__init__()
        self._table = table
        self._is_stopping = False

    def stop(self) -> None:
        """End this worker as soon as no HTTP process needs it. Its signal handler calls this."""
        self._is_stopping = True
        self._table.rouse(self.worker_id or 0)

    def run(
        self,
        lit_api: LitAPI,
        device: str,  # noqa: ARG002  (LitServe passes its own queue and more; this loop reads the table)
        worker_id: int,  # noqa: ARG002
        request_queue: "Queue[Any]",  # noqa: ARG002
        transport: TableTransport,
        *_: Any,
    ) -> None:
        """Answer one batch. LitServe calls this again and again.

        Raises
        ------
        SystemExit
            When this worker was told to stop, and no HTTP process has a request for it.
        """
        slots = self.next_batch(lit_api)
        if not slots:
            return
        stages = BatchStages.begin(len(slots))
        try:
            probabilities = lit_api.predict(lit_api.batch(slots, stages), stages)
            transport.answer(slots, probabilities, stages)
        except Exception:
            _LOG.exception("the prediction of a batch of %d images failed", len(slots))
            transport.fail(slots)

    def next_batch(self, lit_api: LitAPI) -> list[int]:
        """Collect a batch and return its slots; where no request is queued, sleep until one comes, and return none.

        The sleep has a limit. LitServe calls this again and again.

        Raises
        ------
        SystemExit
            When this worker was told to stop, and no HTTP process has a request for it.
        """
        worker = self.worker_id or 0
        if self._is_stopping and not self._table.is_open:
            # Requests of an HTTP process that was killed may still be queued; nobody waits for their answers.
            self._table.leave(worker)
            raise SystemExit(0)
        self._table.collect(worker)
        slots = self._collect(lit_api)
        if slots:
            self._table.work(worker)
        else:
            self._table.wait(worker, _STOPPING_S if self._is_stopping else _IDLE_S)
        return slots

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
        """Return how many requests this worker should have when it closes its batch, at least one."""
        in_sight = taken + self._table.in_sight
        return min(max_batch_size, max(1, math.ceil(in_sight / max(1, self._table.free_workers))))

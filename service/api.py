"""ImageClassifierAPI: the hooks of a batch in a worker, and of an answer in its HTTP process."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastapi import Response
from litserve import LitAPI

from service import metrics
from service.images import Pixels
from service.predictions import Probabilities, best_first
from service.processes import end_with_parent
from service.settings import Settings
from service.stages import BatchStages, StageTimer, server_timing
from service.transport.batching import FairShareLoop
from service.transport.request_table import RequestTable
from service.transport.worker_details import WorkerDetails

_LOG = logging.getLogger(__name__)
# Where workers compute on the CPU, the HTTP process must come first under full load: its work is short, and all
# requests wait for it. Without this, a refusal at ten times the load takes seconds instead of milliseconds. A worker
# that feeds a GPU must not wait for the processes that decode.
_WORKER_NICENESS = 10


async def _admit() -> None:
    """Let every request pass: `service.web.admission` has checked the key. LitServe's own check takes a thread each."""


def _step_back() -> None:
    """Let the HTTP processes go first. A worker that is nicer already, or may not be so, serves all the same."""
    with suppress(OSError):
        os.nice(max(0, _WORKER_NICENESS - os.nice(0)))


class ImageClassifierAPI(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Image in, labels with probabilities out.

    The endpoint (`service.web.image_request`) decodes the image in the HTTP process. A bad one is refused there, so it
    can't fail the batch that it would have joined.
    """

    def __init__(self, settings: Settings, table: RequestTable, details: WorkerDetails) -> None:
        super().__init__(
            max_batch_size=settings.max_batch_size,
            batch_timeout=settings.batch_timeout_s,
            loop=FairShareLoop(table),
        )
        self._settings = settings
        self._table = table
        self._details = details
        self._others = settings.resolved_workers_per_device - 1
        self.authorize = _admit

    def setup(self, device: str) -> None:
        """Prepare the worker's process and load the model."""
        # Ctrl-C reaches the whole process group; the parent drains what is in flight and then ends the workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        parent = multiprocessing.parent_process()
        if parent is not None:  # a test may call this in its own process
            assert parent.pid is not None, "it has been started"
            end_with_parent(parent.pid)
        if device == "cpu":
            _step_back()
        # Imported here: torch takes seconds and hundreds of megabytes, and the processes without a model need none of
        # it. The main process must not initialise CUDA either.
        from service.model.errors import ModelError
        from service.model.startup import ready_classifier

        try:
            self._classifier = ready_classifier(self._settings, device)
        except ModelError as error:
            self._details.tell_failure(str(error))
            raise
        self._details.tell({**self._classifier.details, "threads": self._settings.threads_per_worker})
        # SIGTERM may reach the whole group, too. Until here it ends the worker at once.
        signal.signal(signal.SIGTERM, lambda *_: self.loop.stop())

    def batch(self, inputs: Sequence[int], stages: BatchStages) -> Pixels:
        """Copy the images of n requests out of the table: uint8 of shape (n, size, size, 3).

        Parameters
        ----------
        inputs:
            Their slots.
        stages:
            Keeps how long this and `predict` take.
        """
        metrics.observe_batch_size(len(inputs))
        with metrics.timed_stage(stages.batch):
            return self._table.copy_images(inputs)

    def predict(self, x: Pixels, stages: BatchStages) -> Probabilities:
        """Predict float32 probabilities of shape (n, labels)."""
        # The model computes in threads of its own, so the whole process's CPU time counts.
        with metrics.timed_stage(stages.predict, cpu_clock=time.process_time):
            try:
                return self._classifier.predict(x, use_all_cores=self._table.free_workers >= self._others)
            except Exception:
                self._end_without_device()
                raise

    def _end_without_device(self) -> None:
        """End the worker if its device is lost: it would refuse batches faster than others predict theirs.

        The requests that it has are told to come again, and a new worker takes its place. CUDA may hang when such a
        process ends as usual.
        """
        if not self._classifier.device_works():
            _LOG.exception("the device computes no more, so this worker ends")
            os._exit(1)

    def encode_response(self, output: Probabilities, context: dict[str, Any]) -> Response:
        """Answer with labels and probabilities as JSON, best first, and with the stages in a header.

        The HTTP process calls this: a worker's device would wait for it.

        Parameters
        ----------
        output:
            float32 of shape (labels,).
        context:
            Under `stages` the stages that the request has passed.
        """
        encoding = StageTimer("encode")
        with metrics.timed_stage(encoding):
            body = best_first(self._settings.reported_labels, output).model_dump_json()
        stages = [*context["stages"], encoding]
        return Response(body, media_type="application/json", headers={"Server-Timing": server_timing(stages)})

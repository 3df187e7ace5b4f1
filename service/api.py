"""ImageClassifierAPI: what LitServe calls in a worker for each batch."""

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
from service.stages import StageTimer, server_timing
from service.transport.batching import FairShareLoop, QueuedImage
from service.transport.request_table import RequestTable
from service.transport.worker_details import WorkerDetails
from service.web.image_request import ImageFromRequest

# Under full load the HTTP process must come first: its work is short, and all requests wait for it. Without this, a
# refusal at ten times the load takes seconds instead of milliseconds.
_WORKER_NICENESS = 10


async def _admit() -> None:
    """Let every request pass: `service.web.admission` has checked the key. LitServe's own check takes a thread each."""


def _step_back() -> None:
    """Let the HTTP processes go first. A worker that is nicer already, or may not be so, serves all the same."""
    with suppress(OSError):
        os.nice(max(0, _WORKER_NICENESS - os.nice(0)))


class ImageClassifierAPI(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Image in, labels with probabilities out.

    A dependency of the endpoint decodes the image in the HTTP process and refuses a bad one there, so that it can't
    fail the batch that it would have joined.
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

    def decode_request(self, request: ImageFromRequest) -> object:
        """Return the input as it is.

        In the HTTP process LitServe reads the annotation, which makes FastAPI decode the image. In the worker it calls
        this with the `QueuedImage` that the worker's loop has collected.
        """
        return request

    def batch(self, inputs: Sequence[QueuedImage], context: Sequence[dict[str, Any]]) -> Pixels:
        """Copy the images of n requests out of the table: uint8 of shape (n, size, size, 3).

        Parameters
        ----------
        context:
            LitServe's dictionary for each request; under `stages` this keeps the stages that the request has passed.
        """
        now_s, unix_s, batching = time.monotonic(), time.time(), StageTimer("batch", shared=len(inputs))
        for image, own in zip(inputs, context, strict=True):
            waiting = StageTimer("queue", now_s - image.queued_at_s, None, unix_s)
            metrics.observe_stage(waiting)
            own["stages"] = [waiting, batching]
        metrics.observe_batch_size(len(inputs))
        with metrics.timed_stage(batching):
            return self._table.copy_images([image.slot for image in inputs])

    def predict(self, x: Pixels, context: Sequence[dict[str, Any]]) -> Probabilities:
        """Predict float32 probabilities of shape (n, labels)."""
        predicting = StageTimer("predict", shared=len(x))
        for own in context:
            own["stages"].append(predicting)
        # The model computes in threads of its own, so the whole process's CPU time counts.
        with metrics.timed_stage(predicting, cpu_clock=time.process_time):
            return self._classifier.predict(x, use_all_cores=self._table.free_workers >= self._others)

    def unbatch(self, output: Probabilities) -> list[Probabilities]:
        """Split the probabilities into one row for each request."""
        return list(output)

    def encode_response(self, output: Probabilities, context: dict[str, Any]) -> Response:
        """Answer with labels and probabilities as JSON, best first, and with the stages in a header."""
        encoding = StageTimer("encode")
        with metrics.timed_stage(encoding):
            body = best_first(self._classifier.labels, output).model_dump_json()
        stages = [*context["stages"], encoding]
        return Response(body, media_type="application/json", headers={"Server-Timing": server_timing(stages)})

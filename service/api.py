"""ImageClassifierAPI: what LitServe calls in a worker for each batch."""

import signal
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import Response
from litserve import LitAPI

from service import metrics
from service.answers import Probabilities, best_first
from service.batching import FairShareLoop, Occupancy
from service.image_request import DecodedImage, ImageFromRequest
from service.images import Pixels
from service.pixel_slots import PixelSlots
from service.settings import Settings
from service.stages import StageSpan, server_timing


async def _admit() -> None:
    """Who may come in has been decided (`service.admission`); LitServe's own check takes a thread for each request."""


def _discard(slots: PixelSlots, image: DecodedImage) -> None:
    slots.discard(image.place)


class ImageClassifierAPI(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Image in, labels with probabilities out.

    Decoding is the endpoint's dependency: it runs in the HTTP process and answers a bad image there, so that it can't
    fail the batch that it would have joined.
    """

    def __init__(self, settings: Settings, occupancy: Occupancy, slots: PixelSlots) -> None:
        super().__init__(
            max_batch_size=settings.max_batch_size,
            batch_timeout=settings.batch_timeout_s,
            loop=FairShareLoop(occupancy, drop=partial(_discard, slots)),
        )
        self._settings = settings
        self._slots = slots
        self._occupancy = occupancy
        self._others = settings.resolved_workers_per_device - 1
        self.authorize = _admit

    def setup(self, device: str) -> None:
        """Load the model in the worker. Torch is imported here: the server's parent process stays free of it."""
        # Ctrl-C reaches the whole process group; the parent drains what is in flight and then ends the workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from service.model_process import ready_classifier

        self._classifier = ready_classifier(self._settings, device)

    def decode_request(self, request: ImageFromRequest) -> DecodedImage:
        """The image that the dependency has read."""
        return request

    def batch(self, inputs: Sequence[DecodedImage], context: Sequence[dict[str, Any]]) -> Pixels:
        """Stack n images to uint8 of shape (n, size, size, 3).

        Parameters
        ----------
        context:
            LitServe's, one a request; under `stages` each gets what its request has passed.
        """
        now_s, unix_s, batching = time.monotonic(), time.time(), StageSpan("batch", shared=len(inputs))
        for image, own in zip(inputs, context, strict=True):
            waiting = StageSpan("queue", now_s - image.queued_at_s, None, unix_s)
            metrics.observe_stage(waiting)
            own["stages"] = [image.decoding, waiting, batching]
        metrics.observe_batch_size(len(inputs))
        with metrics.timed_stage(batching):
            size = self._settings.image_size
            images = np.empty((len(inputs), size, size, 3), np.uint8)
            for image, pixels in zip(inputs, images, strict=True):
                self._slots.take(image.place, out=pixels)
            return images

    def predict(self, x: Pixels, context: Sequence[dict[str, Any]]) -> Probabilities:
        """float32 probabilities of shape (n, labels)."""
        predicting = StageSpan("predict", shared=len(x))
        for own in context:
            own["stages"].append(predicting)
        # The model's threads are others than this one.
        with metrics.timed_stage(predicting, cpu_clock=time.process_time):
            return self._classifier.predict(x, others_idle=self._occupancy.free_workers >= self._others)

    def unbatch(self, output: Probabilities) -> list[Probabilities]:
        """One row a request."""
        return list(output)

    def encode_response(self, output: Probabilities, context: dict[str, Any]) -> Response:
        """Labels with probabilities, best first, as JSON; the stages in a header."""
        encoding = StageSpan("encode")
        with metrics.timed_stage(encoding):
            body = best_first(self._classifier.labels, output).model_dump_json()
        stages = [*context["stages"], encoding]
        return Response(body, media_type="application/json", headers={"Server-Timing": server_timing(stages)})

"""ImageClassifierAPI: what LitServe calls in a worker for each batch."""

import signal
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from litserve import LitAPI
from litserve.server import LIT_SERVER_API_KEY

from service import metrics
from service.answers import Answer, Probabilities, best_first
from service.batching import FairShareLoop, Occupancy
from service.image_request import DecodedImage, ImageFromRequest
from service.images import Pixels
from service.pixel_slots import PixelSlots
from service.settings import Settings


async def _admit() -> None:
    """Let everybody in, as LitServe's own function does; but that one takes a thread for each request."""


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
        if not LIT_SERVER_API_KEY:
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

    def batch(self, inputs: Sequence[DecodedImage]) -> Pixels:
        """Stack n images to uint8 of shape (n, size, size, 3)."""
        now_s = time.monotonic()
        for image in inputs:
            metrics.observe_stage("queue", now_s - image.queued_at_s)
        metrics.observe_batch_size(len(inputs))
        with metrics.timed_stage("batch"):
            size = self._settings.image_size
            images = np.empty((len(inputs), size, size, 3), np.uint8)
            for image, pixels in zip(inputs, images, strict=True):
                self._slots.take(image.place, out=pixels)
            return images

    def predict(self, x: Pixels) -> Probabilities:
        """float32 probabilities of shape (n, labels)."""
        with metrics.timed_stage("predict"):
            return self._classifier.predict(x, others_idle=self._occupancy.free_workers >= self._others)

    def unbatch(self, output: Probabilities) -> list[Probabilities]:
        """One row a request."""
        return list(output)

    def encode_response(self, output: Probabilities) -> Answer:
        """Labels with probabilities, best first."""
        with metrics.timed_stage("encode"):
            return best_first(self._classifier.labels, output)

"""From a file's bytes to its answer in one process, without a server: `python -m service.pipeline_worker`.

It is what the service could reach at most on the same cores. A job is `{"image": "<base64 of a file>", "batch_size":
64, "rounds": 12}`: the file is decoded, predicted and answered that many times. Its reply is `{"seconds": [...],
"answers": [...]}`: the time from one round's end to the next one's, and each different answer once. `service.job_lines`
says the rest.
"""

import base64
import binascii
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from service.images import ImageError, ImageReader, Pixels
from service.job_lines import Job, JobError, Reply, RunJob, run_worker, size_of
from service.settings import Settings, usable_cores

if TYPE_CHECKING:
    from service.model.classifier import Classifier

_MODULE = "service.pipeline_worker"
_Round = list[Future[list[dict[str, Any]]]]


class Pipeline:
    """Decodes and predicts on every core.

    With a classifier for each core of a CPU, each core takes its share of a round from the bytes to the answers. With
    one for the whole CPU, a round is decoded before it is predicted, each with all cores: a forward pass that keeps the
    interpreter's lock would stop decoding beside it. On a GPU the next round is decoded meanwhile.

    Parameters
    ----------
    classifiers:
        Each is used by one thread at a time; on a CPU one, or one for each core.
    """

    def __init__(self, classifiers: Sequence["Classifier"], settings: Settings) -> None:
        self._classifiers: SimpleQueue[Classifier] = SimpleQueue()
        for classifier in classifiers:
            self._classifiers.put(classifier)
        self._predicting = len(classifiers)
        self._reader = ImageReader(settings.image_size, settings.crop_fraction, settings.max_image_pixels)
        self._begun_ahead = 0 if settings.resolved_device == "cpu" else 1
        self._most_at_a_time = settings.max_batch_size
        self._decoders = (
            ThreadPoolExecutor(usable_cores(), "decode")
            if settings.resolved_device == "cuda" or len(classifiers) == 1
            else None
        )
        self._predictors = ThreadPoolExecutor(self._predicting, "predict")

    def run(self, file: bytes, batch_size: int, rounds: int) -> tuple[list[float], list[dict[str, Any]]]:
        """Classify the file `batch_size` times in each round.

        Returns
        -------
        (seconds of each round, different answers)

        Raises
        ------
        ImageError
            When the file is no image that can be classified.
        """
        seconds: list[float] = []
        answers: list[dict[str, Any]] = []
        end_s = time.perf_counter()
        begun: list[_Round] = []
        for number in range(rounds):
            while len(begun) < min(1 + self._begun_ahead, rounds - number):
                begun.append(self._begin(file, batch_size))
            for answer in (answer for share in begun.pop(0) for answer in share.result()):
                if answer not in answers:
                    answers.append(answer)
            start_s, end_s = end_s, time.perf_counter()
            seconds.append(end_s - start_s)
        return seconds, answers

    def _begin(self, file: bytes, batch_size: int) -> _Round:
        read = partial(self._reader.read, file)
        images: list[Callable[[], Pixels]] = (
            [self._decoders.submit(read).result for _ in range(batch_size)] if self._decoders else [read] * batch_size
        )
        share = min(self._most_at_a_time, math.ceil(batch_size / self._predicting))
        return [
            self._predictors.submit(self._answer, images[first : first + share])
            for first in range(0, batch_size, share)
        ]

    def _answer(self, images: list[Callable[[], Pixels]]) -> list[dict[str, Any]]:
        import numpy as np

        from service.predictions import best_first

        classifier = self._classifiers.get()
        try:
            rows = classifier.predict(np.stack([image() for image in images]))
        finally:
            self._classifiers.put(classifier)
        return [best_first(classifier.labels, row).model_dump() for row in rows]


def prepare(classifier: "Classifier", settings: Settings) -> RunJob:
    """What runs a job."""
    pipeline = Pipeline(_classifiers(classifier, settings), settings)

    def run_job(job: Job) -> Reply:
        batch_size, rounds = size_of(job)
        try:
            seconds, answers = pipeline.run(base64.b64decode(str(job["image"]), validate=True), batch_size, rounds)
        except (binascii.Error, ImageError) as error:
            raise JobError(f"image: {error}") from None
        return {"seconds": seconds, "answers": answers}

    return run_job


def _classifiers(classifier: "Classifier", settings: Settings) -> list["Classifier"]:
    """As many as are fastest together: on a GPU its workers share one."""
    from service.model.startup import ready_classifier

    if settings.resolved_device == "cuda":
        return [classifier] * settings.resolved_workers_per_device
    if classifier.engine != "openvino":
        return [classifier]
    one_thread_each = settings.model_copy(update={"workers_per_device": usable_cores()})
    return [ready_classifier(one_thread_each, "cpu") for _ in range(usable_cores())]


def main(arguments: Sequence[str]) -> int:
    """Reply to jobs until stdin ends. Returns the process's exit status."""
    example = {"image": "<base64 of a file>", "batch_size": 64, "rounds": 12}
    return run_worker(_MODULE, arguments, example, prepare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

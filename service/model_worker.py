"""The model without the API: `python -m service.model_worker`, measured through JSON lines.

It sets the model up as a worker of the server does. Then it writes `{"ready": {...}, "most_in_flight": 2}` to stdout,
which says what is measured, and how many batches a job may have in flight. Every line on stdin is a job,
`{"batch_size": 8, "rounds": 12}`; the worker replies to each with one line: `{"seconds": [...]}`, the time of each
round with the device synchronised, or `{"error": "..."}`. It ends with stdin.

In a job with `"in_flight": 2` each batch is queued on a GPU before the last one is done. A round is then the time from
one completion to the next, so that `batch_size` by its seconds is the throughput.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from service.environment import ensure_environment
from service.settings import WORKERS_ON_GPU, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from service.images import Pixels
    from service.model.classifier import Classifier

_MODULE = "service.model_worker"
_EXAMPLE = '{"batch_size": 8, "rounds": 12}'
_MOST_IMAGES = 4096
_MOST_ROUNDS = 100_000


class JobError(Exception):
    """A line on stdin is no job; the message says why."""


@dataclass(frozen=True)
class Job:
    """Predict `rounds` times a batch of `batch_size` images, with `in_flight` batches at a time."""

    batch_size: int
    rounds: int
    in_flight: int = 1


def parse_job(line: str) -> Job:
    """Read a job from its line.

    Raises
    ------
    JobError
        When the line isn't a JSON object with the fields of a job, or one of them is no whole number or out of range.
    """
    try:
        document = json.loads(line)
        batch_size, rounds, in_flight = document["batch_size"], document["rounds"], document.get("in_flight", 1)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise JobError(f"a job is {_EXAMPLE}, got {line.strip()!r} ({error!r})") from None
    return Job(
        batch_size=_whole_number("batch_size", batch_size, _MOST_IMAGES),
        rounds=_whole_number("rounds", rounds, _MOST_ROUNDS),
        in_flight=_whole_number("in_flight", in_flight, WORKERS_ON_GPU),
    )


def _whole_number(name: str, value: object, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:  # a bool is an int, too
        raise JobError(f"{name} must be a whole number in 1..{most}, got {value!r}")
    return value


def measure(job: Job, classifier: "Classifier", image_size: int) -> list[float]:
    """Return the seconds of each round."""
    # Noise over the full range: with a uniform image some kernels would have less to do, because of zeros or denormals.
    shape = (job.batch_size, image_size, image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if job.in_flight == 1:
        return [_measure_alone(classifier, images) for _ in range(job.rounds)]
    return _measure_in_flight(classifier, images, job)


def _measure_alone(classifier: "Classifier", images: "Pixels") -> float:
    start_s = time.perf_counter()
    classifier.predict(images)
    classifier.synchronize()
    return time.perf_counter() - start_s


def _measure_in_flight(classifier: "Classifier", images: "Pixels", job: Job) -> list[float]:
    """Return the seconds from one completion to the next, each as the mean of as many as there are batches in flight.

    Batches that a GPU computes side by side may complete together, so that single times would be short and long by
    turns. A batch is queued before the clock starts, and one is left when it stops: no round lacks a batch behind it.
    """
    queued = (classifier.enqueue(images, place=place) for place in cycle(range(job.in_flight)))
    results = deque(islice(queued, job.in_flight - 1))
    moments_s = [time.perf_counter()]
    for _ in range(job.rounds + job.in_flight - 1):
        results.append(next(queued))
        results.popleft()()
        moments_s.append(time.perf_counter())
    for result in results:
        result()
    starts_s, ends_s = moments_s[: job.rounds], moments_s[job.in_flight :]
    return [(end_s - start_s) / job.in_flight for start_s, end_s in zip(starts_s, ends_s, strict=True)]


def reply_to_jobs(classifier: "Classifier", settings: Settings) -> None:
    """Say that the worker is ready, and reply to jobs until stdin ends."""
    details = {**classifier.details, "threads": settings.threads_per_worker}
    _write_line({"ready": details, "most_in_flight": WORKERS_ON_GPU})
    for line in sys.stdin:
        try:
            _write_line({"seconds": measure(parse_job(line), classifier, settings.image_size)})
        except JobError as error:
            _write_line({"error": str(error)})


def _write_line(document: Mapping[str, object]) -> None:
    print(json.dumps(document), flush=True)


def main(arguments: Sequence[str]) -> int:
    """Load the model and reply to jobs until stdin ends. Returns the process's exit status."""
    try:
        settings = load_settings(arguments, f"python -m {_MODULE}")
        ensure_environment(settings, _MODULE, arguments)
        _ = settings.device_count  # a GPU that was asked for and isn't there ends it here
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    # Imported here: the process may have started over above, which would import torch twice and take seconds.
    from service.model.errors import ModelError
    from service.model.startup import ready_classifier

    try:
        classifier = ready_classifier(settings, settings.resolved_device)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    reply_to_jobs(classifier, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The model without the API: `python -m service.model_worker`, measured by JSON lines.

On stdin one object a line, `{"batch_size": 8, "rounds": 12}`; on stdout one line each, `{"seconds": [...]}`: the time
of each round with the device synchronised, or `{"error": "..."}`. A first line `{"ready": {...}}` says what is
measured. The process is set up as a worker of the server is.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.environment import ensure_environment
from service.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from service.model import Classifier

_MODULE = "service.model_worker"
_MAX_ROUNDS = 100_000


class JobError(Exception):
    """A line on stdin that is no job."""


def main(arguments: Sequence[str]) -> int:
    """Answer jobs until stdin ends. Returns the process's exit status."""
    try:
        settings = load_settings(arguments, f"python -m {_MODULE}")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    ensure_environment(settings, _MODULE, arguments)
    from service.weights import WeightsError

    try:
        serve_jobs(settings)
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve_jobs(settings: Settings) -> None:
    """Load the model, say so, and answer one job a line."""
    from service.model_process import ready_classifier

    device = settings.resolved_device
    classifier = ready_classifier(settings, device)
    ready = {
        "device": device,
        "precision": classifier.precision,
        "threads": settings.threads_per_worker,
        "compiled": classifier.is_compiled,
    }
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        try:
            answer: dict[str, object] = {"seconds": _run(classifier, settings.image_size, *_parse(line))}
        except JobError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def _parse(line: str) -> tuple[int, int]:
    try:
        job = json.loads(line)
        batch_size, rounds = job["batch_size"], job["rounds"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise JobError(f'a job is {{"batch_size": 8, "rounds": 12}}, got {line.strip()!r} ({error!r})') from None
    for name, value, most in (("batch_size", batch_size, 4096), ("rounds", rounds, _MAX_ROUNDS)):
        if type(value) is not int or not 1 <= value <= most:
            raise JobError(f"{name} must be a whole number in 1..{most}, got {value!r}")
    return batch_size, rounds


def _run(classifier: "Classifier", image_size: int, batch_size: int, rounds: int) -> list[float]:
    import numpy as np

    # Noise of full range: a uniform image would let some kernels off with denormals or zeros.
    images = np.random.default_rng(0).integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    seconds: list[float] = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        classifier.predict(images)
        classifier.synchronize()
        seconds.append(time.perf_counter() - start_s)
    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The model without the API: `python -m service.model_worker`, measured by JSON lines.

A job is `{"batch_size": 8, "rounds": 12}`, its reply `{"seconds": [...]}`: the time of each round with the device
synchronised. `service.job_lines` says the rest.
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.job_lines import Job, Reply, RunJob, run_worker, size_of
from service.settings import Settings

if TYPE_CHECKING:
    from service.model.classifier import Classifier

_MODULE = "service.model_worker"


def prepare(classifier: "Classifier", settings: Settings) -> RunJob:
    """What runs a job."""
    import numpy as np

    def run_job(job: Job) -> Reply:
        batch_size, rounds = size_of(job)
        # Noise of full range: a uniform image would let some kernels off with denormals or zeros.
        shape = (batch_size, settings.image_size, settings.image_size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        seconds: list[float] = []
        for _ in range(rounds):
            start_s = time.perf_counter()
            classifier.predict(images)
            classifier.synchronize()
            seconds.append(time.perf_counter() - start_s)
        return {"seconds": seconds}

    return run_job


def main(arguments: Sequence[str]) -> int:
    """Reply to jobs until stdin ends. Returns the process's exit status."""
    return run_worker(_MODULE, arguments, {"batch_size": 8, "rounds": 12}, prepare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

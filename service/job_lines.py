"""Jobs as JSON lines: what the workers without an API have in common.

Such a process is set up as a worker of the server is. Its first line on stdout, `{"ready": {...}}`, says what is
measured. Then each line on stdin is a job, an object with the number of `rounds` and the images of each, `batch_size`;
it gets one line, the worker's reply or `{"error": "..."}`.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from service.environment import ensure_environment
from service.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from service.model.classifier import Classifier

Job = Mapping[str, object]
Reply = Mapping[str, object]
RunJob = Callable[[Job], Reply]

_MOST = {"batch_size": 4096, "rounds": 100_000}


class JobError(Exception):
    """A line on stdin that is no job."""


def run_worker(
    module: str, arguments: Sequence[str], example: Job, prepare: Callable[["Classifier", Settings], RunJob]
) -> int:
    """Load the model and reply to jobs until stdin ends.

    Parameters
    ----------
    module:
        What is run with `python -m`.
    arguments:
        Its command line: the service's settings.
    example:
        A job; its fields are those that every job must have.
    prepare:
        Makes of the model what runs a job and may raise JobError.

    Returns
    -------
    int
        The process's exit status.
    """
    try:
        settings = load_settings(arguments, f"python -m {module}")
        ensure_environment(settings, module, arguments)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    # Imported here: the process may start over above, which would load torch twice.
    from service.model.errors import WeightsError
    from service.model.startup import ready_classifier

    device = settings.resolved_device
    try:
        classifier = ready_classifier(settings, device)
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    run_job = prepare(classifier, settings)
    ready = {
        "device": device,
        "precision": classifier.precision,
        "threads": settings.threads_per_worker,
        "engine": classifier.engine,
    }
    _say({"ready": ready})
    for line in sys.stdin:
        try:
            _say(run_job(_parse(line, example)))
        except JobError as error:
            _say({"error": str(error)})
    return 0


def size_of(job: Job) -> tuple[int, int]:
    """Images a round, and rounds.

    Raises
    ------
    JobError
        When one is no whole number or out of range.
    """
    batch_size, rounds = (_whole_number(job, name) for name in ("batch_size", "rounds"))
    return batch_size, rounds


def _whole_number(job: Job, name: str) -> int:
    value = job[name]
    if type(value) is not int or not 1 <= value <= _MOST[name]:
        raise JobError(f"{name} must be a whole number in 1..{_MOST[name]}, got {value!r}")
    return value


def _parse(line: str, example: Job) -> Job:
    try:
        job = json.loads(line)
        return {name: job[name] for name in example}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise JobError(f"a job is {json.dumps(example)}, got {line.strip()!r} ({error!r})") from None


def _say(line: Reply) -> None:
    print(json.dumps(line), flush=True)

"""Stage timings, batch sizes and answers as Prometheus metrics of all the service's processes together.

prometheus_client keeps one file a process in a folder and adds them up when it is asked. It decides so when it is
imported, by an environment variable: the first process makes the folder, its children inherit the variable.
"""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings import SettingsError
from service.stages import StageTimer

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

if given := os.environ.get(_DIRECTORY_VARIABLE):
    try:
        Path(given).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{_DIRECTORY_VARIABLE}={given}: {error.strerror}; name a folder to write to") from None
else:
    os.environ[_DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="classifier-metrics-")
    # Children are ended without their parent's exit handlers, so only the process that made the folder removes it.
    atexit.register(shutil.rmtree, os.environ[_DIRECTORY_VARIABLE], ignore_errors=True)

from prometheus_client import (  # noqa: E402  (after the variable is set, see above)
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

_STAGE_SECONDS = Histogram(
    "classifier_stage_seconds",
    "Seconds in a stage: decode and queue for each request, batch, predict and encode for each batch.",
    ["stage"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
_BATCH_SIZE = Histogram(
    "classifier_batch_size",
    "Requests that were predicted together.",
    buckets=(1, 2, 4, 8, 16, 32, 48, 64, 128, 256),
)
_REQUESTS = Counter("classifier_requests", "Answers of the prediction endpoint by HTTP status.", ["status"])
_IN_FLIGHT = Gauge("classifier_requests_in_flight", "Requests that are not answered yet.", multiprocess_mode="livesum")


def observe_stage(timer: StageTimer) -> None:
    """Record how long a stage took."""
    _STAGE_SECONDS.labels(timer.stage).observe(timer.duration_s)


@contextmanager
def timed_stage(timer: StageTimer, cpu_clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
    """Measure the block, see `StageTimer.measure`, and record how long it took, whether it succeeds or not."""
    try:
        with timer.measure(cpu_clock):
            yield
    finally:
        observe_stage(timer)


def observe_batch_size(requests: int) -> None:
    """Record how many requests were predicted together."""
    _BATCH_SIZE.observe(requests)


def exposition() -> bytes:
    """The metrics of all processes in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)


class RequestMetrics:
    """ASGI middleware: counts the answers of one path by status, and the requests in flight."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its answer."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                _REQUESTS.labels(str(message["status"])).inc()
            await send(message)

        with _IN_FLIGHT.track_inprogress():
            await self._app(scope, receive, count)

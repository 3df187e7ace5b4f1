"""Stage timings, batch sizes and answers as Prometheus metrics of all the service's processes together.

Importing this module changes nothing. Before its first import in a process, `service.environment.share_metrics` must
have been called there or in a process above it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.stages import StageTimer


@dataclass(frozen=True)
class _Metrics:
    stage_seconds: Histogram
    batch_size: Histogram
    requests: Counter
    in_flight: Gauge


@cache
def _metrics() -> _Metrics:
    """Make the metrics of this process, at their first use: that opens the process's files in the shared folder.

    In an HTTP process the middleware below makes them before the first request, so no two threads do so at a time.
    """
    return _Metrics(
        Histogram(
            "classifier_stage_seconds",
            "Seconds in a stage: decode and queue for each request, batch, predict and encode for each batch.",
            ["stage"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
        ),
        Histogram(
            "classifier_batch_size",
            "Requests that were predicted together.",
            buckets=(1, 2, 4, 8, 16, 32, 48, 64, 128, 256),
        ),
        Counter("classifier_requests", "Answers of the prediction endpoint by HTTP status.", ["status"]),
        Gauge(
            "classifier_requests_in_flight",
            "Requests that are not answered yet.",
            multiprocess_mode="livesum",
        ),
    )


def observe_stage(timer: StageTimer) -> None:
    """Record how long a stage took."""
    _metrics().stage_seconds.labels(timer.stage).observe(timer.duration_s)


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
    _metrics().batch_size.observe(requests)


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
        self._metrics = _metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count its answer."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(str(message["status"])).inc()
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            await self._app(scope, receive, count)

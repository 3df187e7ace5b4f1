"""Where one request's time went: the stages in its answer's `Server-Timing` header.

    Server-Timing: decode;dur=1.912;cpu=1.850;end=1795426500.123456, predict;dur=84.1;cpu=80.2;shared=8;end=...

The standard defines `dur`: ms from the stage's beginning to its end. `cpu` is the stage's CPU time in ms, `shared` the
number of requests that it served at once, `end` the Unix time of its end. A browser shows `dur` and skips the others.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

Stage = Literal["decode", "queue", "batch", "predict", "encode"]


@dataclass
class StageTimer:
    """Measures one stage of one request, or of a batch.

    Attributes
    ----------
    duration_s:
        The time from its beginning to its end.
    cpu_s:
        Its CPU time; None if the stage only waits.
    ended_at_s:
        The Unix time of its end.
    shared:
        The number of requests in the batch.
    """

    stage: Stage
    duration_s: float = 0.0
    cpu_s: float | None = None
    ended_at_s: float = 0.0
    shared: int = 1

    @contextmanager
    def measure(self, cpu_clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Measure the block, whether it succeeds or not.

        Parameters
        ----------
        cpu_clock:
            Reads the CPU-seconds of the thread that works in the block, or with `time.process_time` of the process.
        """
        start_s, start_cpu_s = time.perf_counter(), cpu_clock()
        try:
            yield
        finally:
            self.cpu_s, self.duration_s = cpu_clock() - start_cpu_s, time.perf_counter() - start_s
            self.ended_at_s = time.time()

    def __str__(self) -> str:
        cpu = "" if self.cpu_s is None else f";cpu={self.cpu_s * 1e3:.3f}"
        shared = "" if self.shared == 1 else f";shared={self.shared}"
        return f"{self.stage};dur={self.duration_s * 1e3:.3f}{cpu}{shared};end={self.ended_at_s:.6f}"


@dataclass(frozen=True)
class BatchStages:
    """The stages that all requests of a batch share.

    A worker writes them as numbers, once for a batch; the HTTP process makes each request's header from them.

    Attributes
    ----------
    began_s, began_at_s:
        `time.monotonic()` and the Unix time when the worker had collected the batch.
    batch, predict:
        The timers of copying the images together and of predicting them.
    """

    began_s: float
    began_at_s: float
    batch: StageTimer
    predict: StageTimer

    NUMBERS: ClassVar[int] = 9
    """The number of numbers that `to_numbers` writes."""

    @classmethod
    def begin(cls, requests: int) -> "BatchStages":
        """Make the stages of a batch that has just been collected."""
        batch, predict = StageTimer("batch", shared=requests), StageTimer("predict", shared=requests)
        return cls(time.monotonic(), time.time(), batch, predict)

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> "BatchStages":
        """Read what `to_numbers` has written."""
        began_s, began_at_s, shared, *times = numbers
        batch, predict = times[:3], times[3:]
        return cls(
            began_s,
            began_at_s,
            StageTimer("batch", batch[0], batch[1], batch[2], int(shared)),
            StageTimer("predict", predict[0], predict[1], predict[2], int(shared)),
        )

    def to_numbers(self) -> list[float]:
        """Write them as `NUMBERS` numbers."""
        times = [(stage.duration_s, stage.cpu_s or 0.0, stage.ended_at_s) for stage in (self.batch, self.predict)]
        return [self.began_s, self.began_at_s, self.batch.shared, *times[0], *times[1]]

    def list_for_request(self, queued_at_s: float) -> list[StageTimer]:
        """List a request's stages in the worker.

        Parameters
        ----------
        queued_at_s:
            `time.monotonic()` when its image was in the request table.
        """
        return [StageTimer("queue", self.began_s - queued_at_s, None, self.began_at_s), self.batch, self.predict]


def server_timing(timers: Iterable[StageTimer]) -> str:
    """Write the header's value."""
    return ", ".join(map(str, timers))

"""Where one request's time went: the stages in its answer's `Server-Timing` header.

    Server-Timing: decode;dur=1.912;cpu=1.850;end=1795426500.123456, predict;dur=84.1;cpu=80.2;shared=8;end=...

The standard defines `dur`: ms from the stage's beginning to its end. `cpu` is the stage's CPU time in ms, `shared` the
number of requests that it served at once, `end` the Unix time of its end. A browser shows `dur` and skips the others.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

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


def server_timing(timers: Iterable[StageTimer]) -> str:
    """Write the header's value."""
    return ", ".join(map(str, timers))

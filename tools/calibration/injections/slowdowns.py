"""Slowdowns of known place and size, put into a copy of the service: what a slow commit would look like.

The product has no hooks for them. A copy's stage does its work and then burns a share of the time that this took, or a
time of its own.

What it took is counted without the time that it waited for a core or, stopped, for the other side's burst to end: a
forward pass of 70 ms that is interrupted for 250 would otherwise be slowed by four times its share. So a share is of
CPU time, which a thread that waits for a GPU spends, too: by CUDA's default it spins.

On a GPU, `model` cells have two batches in flight and don't call `Classifier.predict`: its slowdown shows in the API
alone.
"""

from dataclasses import dataclass
from pathlib import Path

from tools.calibration.injections.injection import digest_of

# A stage's file and function, and the clock of the threads that work in it: the calling thread, or those of the model.
_STAGES = {
    "decode": ("service/images/reader.py", "ImageReader.read", "thread_time"),
    "batch": ("service/transport/request_table.py", "RequestTable.copy_images", "thread_time"),
    "predict": ("service/model/classifier.py", "Classifier.predict", "process_time"),
    "encode": ("service/predictions.py", "best_first", "thread_time"),
}
STAGES = tuple(_STAGES)
# Of cells, those in which the stage is at work.
_GROUPS = {
    "decode": ("api", "photo", "latency"),
    "batch": ("api", "photo", "latency"),
    "predict": ("model", "api", "photo", "latency"),
    "encode": ("api", "photo", "latency"),
}

# Hashing large pieces releases the interpreter's lock, as decoding and predicting do.
_CODE = """

def _slowed(work):
    import functools
    import hashlib
    import time

    piece = bytes(16384)

    @functools.wraps(work)
    def slow(*arguments, **options):
        start_s, start_cpu_s = time.perf_counter(), time.{clock}()
        try:
            return work(*arguments, **options)
        finally:
            # Threads that work at a time count once.
            worked_s = min(time.perf_counter() - start_s, time.{clock}() - start_cpu_s)
            end_s = time.thread_time() + {share!r} * worked_s + {extra_s!r}
            while time.thread_time() < end_s:
                hashlib.sha256(piece)

    return slow


{name} = _slowed({name})
"""


@dataclass(frozen=True)
class Slowdown:
    """One stage takes longer.

    Attributes
    ----------
    stage:
        One of `STAGES`.
    share:
        The delay as a share of the stage's own time: 0.1 makes it take 1.1 times as long.
    extra_ms:
        Of CPU time for each call: of a batch for `batch` and `predict`, of a request for the others.
    """

    stage: str
    share: float = 0.0
    extra_ms: float = 0.0

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of cells that the stage is at work in."""
        return _GROUPS[self.stage]

    @property
    def digest(self) -> str:
        """See `Injection`."""
        return digest_of(f"{_CODE}\n{self}")

    def inject(self, folder: Path) -> None:
        """Append it to the stage's file in a copy of the project."""
        file, name, clock = _STAGES[self.stage]
        with (folder / file).open("a") as source:
            source.write(_CODE.format(name=name, clock=clock, share=self.share, extra_s=self.extra_ms / 1e3))

"""Slowdowns of known place and size, put into a copy of the service: what a slow commit would look like.

The product has no hooks for them. A copy's stage does its work and then burns a share of the time that this took, or a
time of its own.
"""

from dataclasses import dataclass
from pathlib import Path

_STAGES = {
    "decode": ("service/images.py", "ImageReader.read"),
    "batch": ("service/request_table.py", "RequestTable.copy_images"),
    "predict": ("service/model.py", "Classifier.predict"),
    "encode": ("service/answers.py", "best_first"),
}
STAGES = tuple(_STAGES)
# Of cells, those in which the stage is at work.
_GROUPS = {"decode": ("api",), "batch": ("api",), "predict": ("model", "api"), "encode": ("api",)}

# Hashing large pieces releases the interpreter's lock, as decoding and predicting do.
_CODE = """

def _slowed(work):
    import functools
    import hashlib
    import time

    piece = bytes(16384)

    @functools.wraps(work)
    def slow(*arguments, **options):
        start_s = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            end_s = time.perf_counter() + {share!r} * (time.perf_counter() - start_s) + {extra_s!r}
            while time.perf_counter() < end_s:
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
        Of its own time: 0.1 makes it take 1.1 times as long.
    extra_ms:
        Of each call: of a batch for `predict`, of a request for the others.
    """

    stage: str
    share: float = 0.0
    extra_ms: float = 0.0

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of cells that the stage is at work in."""
        return _GROUPS[self.stage]

    def put_into(self, folder: Path) -> None:
        """Append it to the stage's file in a copy of the project."""
        file, name = _STAGES[self.stage]
        with (folder / file).open("a") as source:
            source.write(_CODE.format(name=name, share=self.share, extra_s=self.extra_ms / 1e3))

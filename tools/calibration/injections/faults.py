"""Faults that throughput hardly shows, put into a copy of the service: late requests, leaks, slow starts, dear photos.

As with `slowdowns.py`, the product has no hooks for them: each is code appended to one of the copy's files.
"""

from dataclasses import dataclass
from pathlib import Path

from tools.calibration.injections.injection import digest_of

_READER, _CLASSIFIER = "service/images/reader.py", "service/model/classifier.py"
_OF_SERVER = ("api", "photo", "latency")
_LATE_ANSWERS = ("api tail", "latency lateness")

# The fault is put around `work`.
_AROUND = """

def _disturbed(work):
    import functools
    import itertools
    import time

    calls, kept = itertools.count(1), []

    @functools.wraps(work)
    def disturbed(*arguments, **options):
        number, start_s = next(calls), time.thread_time()
        answer = work(*arguments, **options)
{disturb}
        return answer

    return disturbed


{name} = _disturbed({name})
"""
_SLEEP = """\
        if number % {every} == 0:
            time.sleep({seconds})
"""
_COMPUTE = """\
        if number % {every} == 0:
            end_s = time.thread_time() + {seconds}
            while time.thread_time() < end_s:
                pass
"""
_KEEP = """\
        kept.append(b"%08d" % number * ({kept_bytes} // 8))
"""
_DEAR_PHOTOS = """\
        if len(arguments[-1]) > {large_bytes}:
            now_s = time.thread_time()
            while time.thread_time() < now_s + {share} * (now_s - start_s):
                pass
"""


@dataclass(frozen=True)
class Fault:
    """Code that is appended to a file of the service.

    Attributes
    ----------
    file:
        Of the project.
    code:
        The text that is appended.
    groups:
        Groups of cells that it may reach.
    figures:
        The figures that show it, as tests name them; `throughput` is one.
    """

    file: str
    code: str
    groups: tuple[str, ...]
    figures: tuple[str, ...]

    @property
    def digest(self) -> str:
        """See `Injection`."""
        return digest_of(f"{self.file}\n{self.code}")

    def inject(self, folder: Path) -> None:
        """Append it to its file in a copy of the project."""
        with (folder / self.file).open("a") as source:
            source.write(self.code)


def _around(file: str, name: str, disturb: str, groups: tuple[str, ...], figures: tuple[str, ...]) -> Fault:
    return Fault(file, _AROUND.format(name=name, disturb=disturb.rstrip()), groups, figures)


def _late(every: int, disturb: str = _SLEEP) -> Fault:
    """One request in so many is a quarter of a second late."""
    return _around(_READER, "ImageReader.read", disturb.format(every=every, seconds=0.25), _OF_SERVER, _LATE_ANSWERS)


# One request in a hundred is 1 %.
FAULTS: dict[str, Fault] = {
    "late 1%": _late(100),
    "late 2%": _late(50),
    "late 1%, computing": _late(100, _COMPUTE),
    "late batches": _around(
        _CLASSIFIER, "Classifier.predict", _SLEEP.format(every=50, seconds=0.25), _OF_SERVER, _LATE_ANSWERS
    ),
    "keeps 20 KB": _around(
        _READER, "ImageReader.read", _KEEP.format(kept_bytes=20_000), _OF_SERVER, ("api growth", "photo growth")
    ),
    "200 MB more": Fault(
        _CLASSIFIER, '\n\n_ballast = b"ballast!" * 25_000_000\n', ("model", *_OF_SERVER), ("api memory", "model memory")
    ),
    "starts 2 s later": Fault("service/app.py", "\n\nimport time\n\ntime.sleep(2)\n", _OF_SERVER, ("api start",)),
    "large photos +30%": _around(
        _READER,
        "ImageReader.read",
        _DEAR_PHOTOS.format(large_bytes=500_000, share=0.3),
        ("photo",),
        ("photo throughput", "photo cost"),
    ),
}

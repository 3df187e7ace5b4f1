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
    def parts(self) -> "tuple[Fault, ...]":
        """The one that it is; see `Together`."""
        return (self,)

    @property
    def digest(self) -> str:
        """See `Injection`."""
        return digest_of(f"{self.file}\n{self.code}")

    def inject(self, folder: Path) -> None:
        """Append it to its file in a copy of the project."""
        with (folder / self.file).open("a") as source:
            source.write(self.code)


@dataclass(frozen=True)
class Together:
    """Several faults in one change, each of which is to be found."""

    parts: tuple[Fault, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """See `Fault`."""
        return tuple(dict.fromkeys(group for part in self.parts for group in part.groups))

    @property
    def figures(self) -> tuple[str, ...]:
        """See `Fault`."""
        return tuple(dict.fromkeys(figure for part in self.parts for figure in part.figures))

    @property
    def digest(self) -> str:
        """See `Injection`."""
        return digest_of("\n".join(part.digest for part in self.parts))

    def inject(self, folder: Path) -> None:
        """Append each to its file in a copy of the project."""
        for part in self.parts:
            part.inject(folder)


def _around(file: str, name: str, disturb: str, groups: tuple[str, ...], figures: tuple[str, ...]) -> Fault:
    return Fault(file, _AROUND.format(name=name, disturb=disturb.rstrip()), groups, figures)


def _late(every: int, disturb: str = _SLEEP) -> Fault:
    """One request in so many is a quarter of a second late."""
    return _around(_READER, "ImageReader.read", disturb.format(every=every, seconds=0.25), _OF_SERVER, _LATE_ANSWERS)


def _starts_later(seconds: int) -> Fault:
    return Fault("service/app.py", f"\n\nimport time\n\ntime.sleep({seconds})\n", _OF_SERVER, ("api start",))


# One request in a hundred is 1 %.
_FAULTS: dict[str, Fault] = {
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
    "starts 2 s later": _starts_later(2),
    "starts 6 s later": _starts_later(6),
    "large photos +30%": _around(
        _READER,
        "ImageReader.read",
        _DEAR_PHOTOS.format(large_bytes=500_000, share=0.3),
        ("photo",),
        ("photo throughput", "photo cost"),
    ),
    "large photos in full": Fault(
        _READER,
        "\n\nfrom PIL.JpegImagePlugin import JpegImageFile\n\nJpegImageFile.draft = lambda *_: None\n",
        ("photo",),
        ("photo throughput", "photo cost"),
    ),
}
# The change that a throughput of small photos, in bursts, once passed.
UNSEEN = ("large photos in full", "late 1%", "keeps 20 KB", "starts 6 s later")
FAULTS: dict[str, Fault | Together] = {**_FAULTS, "all four": Together(tuple(_FAULTS[kind] for kind in UNSEEN))}

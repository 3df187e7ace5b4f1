"""Stored baselines: read, find, write. pytest-benchmark's own JSON with the gate's record beside it.

Nothing but `--perf-accept` writes one, and only when every test of that run has passed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from servegate.errors import BaselineError, NoBaselineError
from servegate.records import Fingerprint
from servegate.storage.commits import CommitIdentity

# 1: each benchmark's extra_info has a list a figure, with an entry a process, and its stats have the raw rounds. The
#    record of the gate stands under "perfgate", as the package was called then; its checksum is over everything else.
# 2: extra_info has an object a process in "processes", and stats have no raw rounds.
FORMAT_VERSION = 2
_READABLE_VERSIONS = (1, FORMAT_VERSION)
_RECORD = "servegate"
_RECORD_BEFORE_RENAMING = "perfgate"
_FILE_NAME = "baseline.json"
_UNFINISHED = ".baseline.json.new"
_MIN_PROCESSES = 2
# Details that were added without a new format, with the values that older baselines were measured with.
_OLDER_DETAILS = {"load processes": "1"}


@dataclass(frozen=True)
class Baseline:
    """The figures of a machine class at the time when its baseline was accepted.

    Attributes
    ----------
    throughput_per_s:
        Throughput of each fresh process, by the cell's name.
    checkout:
        The commit that was measured.
    details:
        The details of the machine at that time.
    """

    path: Path
    throughput_per_s: Mapping[str, tuple[float, ...]]
    checkout: CommitIdentity
    details: Mapping[str, str]

    def differences(self, details: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Return the name, the old and the new value of each detail of the machine that has changed."""
        names = sorted(self.details.keys() | details.keys())
        before = {**_OLDER_DETAILS, **self.details}
        pairs = [(name, before.get(name, "none"), details.get(name, "none")) for name in names]
        return [(name, then, now) for name, then, now in pairs if then != now]


def baseline_path(folder: Path, machine_class: str) -> Path:
    """Where the baseline of a machine class is kept."""
    return folder / machine_class / _FILE_NAME


def read_baseline(folder: Path, machine_class: str) -> Baseline:
    """Read the baseline of a machine class.

    Raises
    ------
    NoBaselineError
        When the class has none; the message names the classes that do.
    BaselineError
        When the file is corrupt, edited, of another class or of a newer version.
    """
    path = baseline_path(folder, machine_class)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = sorted(file.parent.name for file in folder.glob(f"*/{_FILE_NAME}"))
        known = f"; there are baselines for: {', '.join(others)}" if others else ""
        raise NoBaselineError(f"no baseline is stored for this class of machine, {machine_class}{known}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"the baseline {path} can't be read: {error}") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BaselineError(
            f"the baseline {path} is corrupt or half-written ({error}); restore it from git or accept a new one"
        ) from None
    return _parse(path, document, machine_class)


@dataclass(frozen=True)
class StoredFile:
    """The file that a machine class had at some time; its content is None if there was no readable file."""

    content: bytes | None

    @classmethod
    def at(cls, path: Path) -> Self:
        """Read the file as it is now."""
        try:
            return cls(path.read_bytes())
        except OSError:
            return cls(None)


def write_baseline(
    folder: Path,
    fingerprint: Fingerprint,
    checkout: CommitIdentity,
    document: Mapping[str, Any],
    *,
    replaces: StoredFile | None = None,
) -> Path:
    """Store pytest-benchmark's document of a run as the baseline of the machine's class, either whole or not at all.

    Parameters
    ----------
    replaces:
        The file as it was when the run began; None to replace any file.

    Raises
    ------
    BaselineError
        If another run has stored a baseline since this run began, or the file can't be written. The old file stays.
    """
    path = baseline_path(folder, fingerprint.machine_class)
    record = {
        "format_version": FORMAT_VERSION,
        "machine_class": fingerprint.machine_class,
        "checkout": asdict(checkout),
        "details": dict(fingerprint.details),
    }
    benchmarks = [_put_processes_together(benchmark) for benchmark in document["benchmarks"]]
    complete: dict[str, Any] = {**document, "benchmarks": benchmarks, _RECORD: record}
    record["checksum"] = _checksum(complete)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(path.parent):
            if replaces not in (None, StoredFile.at(path)):
                raise BaselineError(
                    f"the baseline {path} was replaced while this run measured; of two runs at a time on one machine "
                    "neither is to be trusted: accept one again, alone"
                )
            _replace(path, _layout(complete) + "\n")
    except OSError as error:
        raise BaselineError(f"the baseline {path} can't be written: {error.strerror}") from None
    return path


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Others that write here wait; when this process is killed, the kernel lets them in."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(_UNFINISHED)  # one that was killed here has left it, and it's overwritten
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_checkout(document: Any) -> tuple[str, CommitIdentity]:
    """The class of machine and the commit of a baseline, of whatever version.

    Raises
    ------
    KeyError, TypeError
        When the document is none.
    """
    record = document[_RECORD] if _RECORD in document else document[_RECORD_BEFORE_RENAMING]
    return str(record["machine_class"]), CommitIdentity(**record["checkout"])


def _parse(path: Path, document: Any, machine_class: str) -> Baseline:
    record = document.get(_RECORD, document.get(_RECORD_BEFORE_RENAMING)) if isinstance(document, dict) else None
    if not isinstance(record, dict):
        raise BaselineError(f"{path} is no baseline of servegate; accept one with --perf-accept")
    version = record.get("format_version")
    if version not in _READABLE_VERSIONS:
        raise BaselineError(
            f"the baseline {path} has format {version!r}, this servegate reads {_READABLE_VERSIONS}; "
            "use the servegate that wrote it or accept a new baseline"
        )
    if record.pop("checksum", None) != _checksum(document):
        raise BaselineError(
            f"the baseline {path} was changed after it was written (its checksum is wrong); restore it from git"
        )
    if record["machine_class"] != machine_class:
        raise BaselineError(
            f"the baseline {path} was measured on another class of machine, {record['machine_class']}, "
            f"not on {machine_class}; it must not be copied between classes"
        )
    cells = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    throughput = {
        cell["cell"]: _throughput_per_s(cell, version)
        for cell in cells
        if "cell" in cell  # else a stock benchmark beside the gate's tests
    }
    for cell, values in throughput.items():
        if len(values) < _MIN_PROCESSES or not all(value > 0 for value in values):
            raise BaselineError(f"the baseline {path} holds no usable throughput for {cell}: {values}")
    return Baseline(path, throughput, CommitIdentity(**record["checkout"]), record["details"])


def _throughput_per_s(cell: Mapping[str, Any], version: int) -> tuple[float, ...]:
    if version == 1:
        return tuple(cell["throughput_per_s"])
    return tuple(process["throughput_per_s"] for process in cell["processes"])


def _put_processes_together(benchmark: Mapping[str, Any]) -> Mapping[str, Any]:
    """A benchmark with an object a process instead of a list a figure; as it is where it is no cell of the gate."""
    figures = benchmark["extra_info"]
    if "cell" not in figures:
        return benchmark
    count = len(figures["throughput_per_s"])
    by_process = {name: values for name, values in figures.items() if isinstance(values, list) and len(values) == count}
    others = {name: values for name, values in figures.items() if name not in by_process}
    processes = [dict(zip(by_process, values, strict=True)) for values in zip(*by_process.values(), strict=True)]
    return {**benchmark, "extra_info": {**others, "processes": processes}}


def _layout(value: Any, margin: str = "") -> str:
    """JSON for git and for people: each entry of a mapping and each process has a line of its own."""
    inner = margin + " "
    if isinstance(value, Mapping) and value:
        entries = [f"{inner}{json.dumps(name)}: {_layout(entry, inner)}" for name, entry in sorted(value.items())]
        return "{\n" + ",\n".join(entries) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        entries = [inner + (_layout(entry, inner) if _is_nested(entry) else json.dumps(entry)) for entry in value]
        return "[\n" + ",\n".join(entries) + f"\n{margin}]"
    return json.dumps(value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(entry, Mapping | list) for entry in value.values())


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

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
from servegate.storage.checkouts import CommitIdentity

# 1: throughput of every fresh process in each benchmark's extra_info; checksum over everything else.
FORMAT_VERSION = 1
_RECORD = "servegate"
_FILE_NAME = "baseline.json"
_UNFINISHED = ".baseline.json.new"
_MIN_PROCESSES = 2


@dataclass(frozen=True)
class Baseline:
    """What a machine class measured when its baseline was accepted.

    Attributes
    ----------
    throughput_per_s:
        By cell, of each fresh process.
    checkout:
        The commit that was measured.
    details:
        The machine's details then.
    """

    path: Path
    throughput_per_s: Mapping[str, tuple[float, ...]]
    checkout: CommitIdentity
    details: Mapping[str, str]

    def differences(self, details: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Name, then and now of each detail of the machine that is another."""
        names = sorted(self.details.keys() | details.keys())
        pairs = [(name, self.details.get(name, "none"), details.get(name, "none")) for name in names]
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
    """What was stored for a machine class at some time; None for nothing that can be read."""

    content: bytes | None

    @classmethod
    def at(cls, path: Path) -> Self:
        """As it is now."""
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
    """Store what pytest-benchmark made of a run as the baseline of the machine's class, whole or not at all.

    Parameters
    ----------
    replaces:
        What was there when the run began; None if that doesn't matter.

    Raises
    ------
    BaselineError
        When another run has stored one since it began, or the file can't be written; the older one is still there.
    """
    path = baseline_path(folder, fingerprint.machine_class)
    record = {
        "format_version": FORMAT_VERSION,
        "machine_class": fingerprint.machine_class,
        "checkout": asdict(checkout),
        "details": dict(fingerprint.details),
    }
    complete: dict[str, Any] = {**document, _RECORD: record}
    record["checksum"] = _checksum(complete)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(path.parent):
            if replaces not in (None, StoredFile.at(path)):
                raise BaselineError(
                    f"the baseline {path} was replaced while this run measured; of two runs at a time on one machine "
                    "neither is to be trusted: accept one again, alone"
                )
            _replace(path, json.dumps(complete, indent=1, sort_keys=True) + "\n")
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


def _parse(path: Path, document: Any, machine_class: str) -> Baseline:
    record = document.get(_RECORD) if isinstance(document, dict) else None
    if not isinstance(record, dict):
        raise BaselineError(f"{path} is no baseline of servegate; accept one with --perf-accept")
    version = record.get("format_version")
    if version != FORMAT_VERSION:
        raise BaselineError(
            f"the baseline {path} has format {version!r}, this servegate reads {FORMAT_VERSION}; "
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
    throughput = {
        benchmark["extra_info"]["cell"]: tuple(benchmark["extra_info"]["throughput_per_s"])
        for benchmark in document["benchmarks"]
        if "cell" in benchmark["extra_info"]  # else a stock benchmark beside the gate's tests
    }
    for cell, values in throughput.items():
        if len(values) < _MIN_PROCESSES or not all(value > 0 for value in values):
            raise BaselineError(f"the baseline {path} holds no usable throughput for {cell}: {values}")
    return Baseline(path, throughput, CommitIdentity(**record["checkout"]), record["details"])


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

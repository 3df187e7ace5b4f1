"""The results of past runs in one folder: a file a run, named by when it began."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servegate.errors import HistoryError

# Version of a run's document; docs/results-json.md describes it. A change that breaks a reader raises it.
# 1: a cell's value is a number. 2: or a kind's name; what is judged beside throughput.
SCHEMA = 2
_READ = frozenset({1, 2})


@dataclass(frozen=True)
class Point:
    """A cell or a figure in one run.

    Attributes
    ----------
    began:
        UTC, ISO 8601.
    commit:
        Full hash; None where git had no say.
    value:
        A cell's throughput, in units a second, or a figure's median over the processes, in its natural unit.
    more_is_worse:
        Whether it is a figure.
    """

    began: str
    commit: str | None
    value: float
    more_is_worse: bool = False


# Of a class of machine, then of a cell or a figure, as in `api[concurrency=8]` and `api tail`.
Series = Mapping[tuple[str, str], Sequence[Point]]


def append_run(folder: Path, document: Mapping[str, Any]) -> None:
    """Add a run.

    Raises
    ------
    HistoryError
        When the folder can't be written.
    """
    moment = document["began"].replace(":", "").replace("+0000", "Z")
    name = f"{moment}-{(document['commit'] or 'no-commit')[:12]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise HistoryError(f"the run isn't kept in {folder}: {error.strerror}") from None


def read_history(folder: Path) -> Series:
    """Every cell's throughput and every figure, run by run, but for runs that have none or gave wrong answers.

    The throughput of a cell whose load sets the rate says nothing of the service, and is left out. A figure that was
    zero or less in a run, as memory that isn't kept, has no level that changes by a share.

    Raises
    ------
    HistoryError
        When there is no such folder, or a file in it is no run's results.
    """
    if not folder.is_dir():
        raise HistoryError(f"there is no folder {folder}; runs are kept with --perf-history {folder}")
    series: dict[tuple[str, str], list[Point]] = {}
    for document in sorted(map(_read, folder.glob("*.json")), key=lambda document: str(document["began"])):
        for cell in document["cells"]:
            if cell["now_per_s"] and cell["status"] != "INVALID" and not cell.get("rate_is_given"):
                point = Point(document["began"], document["commit"], cell["now_per_s"])
                series.setdefault((document["machine"]["class"], cell["cell"]), []).append(point)
        for figure in document.get("figures", ()):
            if figure["head"] is not None and figure["head"] > 0:
                point = Point(document["began"], document["commit"], figure["head"], more_is_worse=True)
                series.setdefault((document["machine"]["class"], figure["figure"]), []).append(point)
    return series


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path} is no run's results ({error!r}); remove it") from None
    if schema not in _READ:
        raise HistoryError(f"{path} has schema {schema}, this servegate reads {', '.join(map(str, sorted(_READ)))}")
    return document

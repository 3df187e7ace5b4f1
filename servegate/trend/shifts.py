"""Find changes over many runs, describe them in lines of text, and write them as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from servegate.errors import HistoryError
from servegate.storage.history import Point, Series
from servegate.trend.changepoints import LEAST_RUNS, Shift, find_shifts

# Keyed as Series is: by class of machine, and cell or figure.
Shifts = Mapping[tuple[str, str], Sequence[Shift]]


def find_all_shifts(series: Series, least: float) -> Shifts:
    """Find the lasting changes of each cell and figure by at least a share; 0.03 leaves out those below 3 %."""
    return {name: find_shifts([point.value for point in points], least) for name, points in series.items()}


def is_worse(shift: Shift, points: Sequence[Point]) -> bool:
    """Whether throughput fell, or a figure grew."""
    return (shift.change > 0) == points[0].more_is_worse


def count_slowdowns(series: Series, shifts: Shifts) -> int:
    """Count the changes for the worse."""
    return sum(is_worse(shift, series[name]) for name, found in shifts.items() for shift in found)


def describe_trend(series: Series, shifts: Shifts) -> list[str]:
    """Write a line for each change, and one that says what was looked at."""
    lines = [
        f"{name} {_describe(shift, series[machine, name])}; on {machine}"
        for (machine, name), found in shifts.items()
        for shift in found
    ]
    few = sum(len(points) < LEAST_RUNS for points in series.values())
    runs = len({point.began for points in series.values() for point in points})
    figures = sum(points[0].more_is_worse for points in series.values())
    counted = f"{runs} runs, {len(series) - figures} cells" + (f", {figures} figures" if figures else "")
    counted += f"; {few} with fewer than {LEAST_RUNS} runs" if few else ""
    return [*(lines or ["no lasting change"]), counted]


def _describe(shift: Shift, points: Sequence[Point]) -> str:
    began = _name(points[shift.first])
    if shift.last > shift.first:
        began = f"between {began} and {_name(points[shift.last])}"
    over = shift.end - shift.first + 1
    how = f"over some {over} runs, " if over > 2 else ""
    return f"{shift.change:+.1%} {how}beginning {'with ' if shift.last == shift.first else ''}{began}"


def _name(point: Point) -> str:
    return f"{(point.commit or 'no commit')[:12]} ({point.began[:10]})"


def write_csv(path: Path, series: Series) -> None:
    """Write what Apache Otava reads: a row a run, with `time`, `commit`, each cell's throughput and each figure.

    Raises
    ------
    HistoryError
        When the runs are of several classes of machine.
    """
    machines = sorted({machine for machine, _ in series})
    if len(machines) > 1:
        raise HistoryError(f"--csv holds one class of machine, the history has {', '.join(machines)}")
    rows: dict[str, dict[str, object]] = {}
    for (_, cell), points in series.items():
        for point in points:
            rows.setdefault(point.began, {"time": point.began, "commit": point.commit})[cell] = point.value
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["time", "commit", *(cell for _, cell in series)])
        writer.writeheader()
        writer.writerows(rows[began] for began in sorted(rows))

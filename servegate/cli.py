"""`servegate trend FOLDER`: what changed over many runs, though no single one of them was accused."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from servegate.errors import HistoryError, ServegateError
from servegate.judging.changepoints import LEAST_RUNS, Shift, find_shifts
from servegate.report.trend_page import render_trend
from servegate.storage.history import Point, Series, read_history


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit status: 0, 1 when a cell has become slower, 2 when the history can't be read."""
    parser = argparse.ArgumentParser(prog="servegate", description="What the results of many runs say together.")
    commands = parser.add_subparsers(required=True)
    trend = commands.add_parser("trend", help="lasting changes of throughput, and the commits that they began with")
    trend.add_argument("folder", type=Path, help="where --perf-history keeps the runs")
    trend.add_argument("--least-percent", type=float, default=3.0, help="smallest change that is named (%(default)g)")
    trend.add_argument("--html", type=Path, help="write a page with a plot of each cell")
    trend.add_argument("--csv", type=Path, help="write the figures as Apache Otava reads them, a column a cell")
    options = parser.parse_args(arguments)
    try:
        series = read_history(options.folder)
        found = {
            name: find_shifts([point.throughput_per_s for point in points], options.least_percent / 100)
            for name, points in series.items()
        }
        print("\n".join(describe(series, found)))
        if options.html is not None:
            options.html.write_text(render_trend(series, found), encoding="utf-8")
        if options.csv is not None:
            write_csv(options.csv, series)
    except (ServegateError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if any(shift.change < 0 for shifts in found.values() for shift in shifts) else 0


def describe(series: Series, found: dict[tuple[str, str], list[Shift]]) -> list[str]:
    """A line a change, and what was looked at."""
    lines = []
    for (machine, cell), shifts in found.items():
        points = series[machine, cell]
        lines += [f"{cell} {_said(shift, points)}; on {machine}" for shift in shifts]
    few = sum(len(points) < LEAST_RUNS for points in series.values())
    if not any(found.values()):
        lines.append("no lasting change")
    runs = len({point.began for points in series.values() for point in points})
    lines.append(f"{runs} runs, {len(series)} cells" + (f"; {few} with fewer than {LEAST_RUNS} runs" if few else ""))
    return lines


def _said(shift: Shift, points: Sequence[Point]) -> str:
    began = _name(points[shift.first])
    if shift.last > shift.first:
        began = f"between {began} and {_name(points[shift.last])}"
    over = shift.end - shift.first + 1
    how = f"over some {over} runs, " if over > 2 else ""
    return f"{shift.change:+.1%} {how}beginning {'with ' if shift.last == shift.first else ''}{began}"


def _name(point: Point) -> str:
    return f"{(point.commit or 'no commit')[:12]} ({point.began[:10]})"


def write_csv(path: Path, series: Series) -> None:
    """One row a run: `time`, `commit`, and each cell's throughput; of one class of machine.

    Raises
    ------
    HistoryError
        When the runs are of several classes.
    """
    machines = sorted({machine for machine, _ in series})
    if len(machines) > 1:
        raise HistoryError(f"--csv holds one class of machine, the history has {', '.join(machines)}")
    rows: dict[str, dict[str, object]] = {}
    for (_, cell), points in series.items():
        for point in points:
            rows.setdefault(point.began, {"time": point.began, "commit": point.commit})[cell] = point.throughput_per_s
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["time", "commit", *(cell for _, cell in series)])
        writer.writeheader()
        writer.writerows(rows[began] for began in sorted(rows))


if __name__ == "__main__":
    sys.exit(main())

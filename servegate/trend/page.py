"""The history as one HTML page: the changes that last, and a plot of each cell and figure."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from servegate.report.html import render_html
from servegate.report.svg import BLUE, GREEN, HEIGHT_IN, ORANGE, Plot, draw_svgs
from servegate.storage.history import Point, Series
from servegate.trend.changepoints import Shift
from servegate.trend.shifts import Shifts, count_slowdowns, describe_trend, is_worse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LABELS = 6


def render_trend(series: Series, shifts: Shifts) -> str:
    """Return the whole page."""
    plots: dict[str, dict[str, Plot]] = {}
    for (machine, cell), points in series.items():
        draw = partial(_draw, points=points, shifts=shifts[machine, cell])
        plots.setdefault(machine, {})[cell] = HEIGHT_IN, draw
    return render_html(
        "trend.html",
        slowdowns=count_slowdowns(series, shifts),
        lines=describe_trend(series, shifts),
        plots={machine: draw_svgs(by_cell, part=machine) for machine, by_cell in plots.items()},
    )


def _draw(axes: "Axes", points: Sequence[Point], shifts: Sequence[Shift]) -> None:
    axes.plot([point.value for point in points], color=BLUE, marker="o", markersize=3, linewidth=0.8)
    for shift in shifts:
        colour = ORANGE if is_worse(shift, points) else GREEN
        axes.axvspan(shift.first - 0.5, shift.last + 0.5, color=colour, alpha=0.25, linewidth=0)
        axes.annotate(f"{shift.change:+.1%}", (shift.last, 0.03), xycoords=("data", "axes fraction"), color=colour)
    step = -(-len(points) // _MOST_LABELS)
    places = range(0, len(points), step)
    axes.set_xticks(places, [(points[place].commit or "-")[:7] for place in places])
    unit = "bytes, s, ms or times" if points[0].more_is_worse else "per s"
    axes.set(xlabel="commit; shaded: where a change began", ylabel=unit)
    axes.set_ylim(bottom=0)

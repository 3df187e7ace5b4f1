"""The history as one HTML page: a plot of each cell, with the changes that last."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from servegate.judging.changepoints import Shift
from servegate.report.skeleton import render, render_plots, text
from servegate.report.svg import BLUE, GREEN, HEIGHT_IN, ORANGE, render_svg
from servegate.storage.history import Point, Series

_MOST_LABELS = 6


def render_trend(series: Series, found: Mapping[tuple[str, str], Sequence[Shift]]) -> str:
    """The whole page."""
    slower = sum(shift.change < 0 for shifts in found.values() for shift in shifts)
    headline = f"{slower} lasting slowdown{'s' if slower > 1 else ''}" if slower else "No lasting slowdown"
    sections = [f'<h1 class="{"REGRESSED" if slower else "PASS"}">{headline}</h1>']
    for machine in dict.fromkeys(machine for machine, _ in series):
        cells = {cell: points for (other, cell), points in series.items() if other == machine}
        plots = {
            cell: render_svg(f"{machine} {cell}", HEIGHT_IN, partial(_draw, points=points, shifts=found[machine, cell]))
            for cell, points in cells.items()
        }
        sections += [f"<h2>{text(machine)}</h2>", render_plots(plots)]
    return render(headline, sections)


def _draw(axes: Axes, points: Sequence[Point], shifts: Sequence[Shift]) -> None:
    axes.plot([point.throughput_per_s for point in points], color=BLUE, marker="o", markersize=3, linewidth=0.8)
    for shift in shifts:
        colour = ORANGE if shift.change < 0 else GREEN
        axes.axvspan(shift.first - 0.5, shift.last + 0.5, color=colour, alpha=0.25, linewidth=0)
        axes.annotate(f"{shift.change:+.1%}", (shift.last, 0.03), xycoords=("data", "axes fraction"), color=colour)
    step = -(-len(points) // _MOST_LABELS)
    places = range(0, len(points), step)
    axes.set_xticks(places, [(points[place].commit or "-")[:7] for place in places])
    axes.set(xlabel="commit; shaded: where a change began", ylabel="per s")
    axes.set_ylim(bottom=0)

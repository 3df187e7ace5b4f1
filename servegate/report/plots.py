"""The plots of a run's document."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any

from servegate.report.figures import name_stage
from servegate.report.svg import BLUE, GREEN, GREY, HATCHES, HEIGHT_IN, ORANGE, STAGE_COLOURS, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cells = Sequence[Mapping[str, Any]]

# Title, the figure of a stage, its unit.
_STAGE_PLOTS = (
    ("CPU time of a request, by stage", "cpu_ms", "ms of CPU time"),
    ("Time of a request, by stage", "ms", "% of its time"),
)


def choose_plots(document: Mapping[str, Any]) -> dict[str, Plot]:
    """Return the plots that the run has cells for, by title."""
    cells: Cells = [cell for cell in document["cells"] if cell["now_per_s"] is not None]
    on_gpu = [cell for cell in cells if cell["now"]["gpu_utilisation_percent"] is not None]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    # Numbers are sorted; kinds keep the document's order.
    for cell in sorted(cells, key=lambda cell: cell["value"] if isinstance(cell["value"], int) else 0):
        groups.setdefault(cell["group"], []).append(cell)
    series = {name: group for name, group in groups.items() if len(group) > 1}
    plots: dict[str, Plot] = {}
    for name, group in series.items():
        plots[f"Throughput: {name}"] = HEIGHT_IN, partial(_draw_throughput, cells=group)
    for ceiling, bounded in _find_bounded(groups).items():
        compared = {name: groups[name] for name in (ceiling, *bounded)}
        if compared.keys() & series.keys():
            title = f"Throughput: {', '.join(bounded)} against {ceiling}"
            plots[title] = HEIGHT_IN, partial(_draw_throughputs, groups=compared)
    for name, group in series.items():
        if any(cell["now"]["latency_p50_ms"] is not None for cell in group):
            plots[f"Latency: {name}"] = HEIGHT_IN, partial(_draw_latency, cells=group)
    staged = [cell for cell in cells if cell["stages"]]
    for title, figure, unit in _STAGE_PLOTS if staged else ():
        plots[title] = 1.1 + 0.5 * len(staged), partial(_draw_stages, cells=staged, figure=figure, unit=unit)
    if cells:
        plots["CPU in use"] = 0.5 + _height_in(cells), partial(_draw_cpu, cells=cells)
    if on_gpu:
        plots["GPU in use"] = _height_in(on_gpu), partial(_draw_gpu, cells=on_gpu)
    return plots


def _find_bounded(groups: Mapping[str, Cells]) -> dict[str, list[str]]:
    """Return the groups that each ceiling bounds, leaving out those whose rate the load sets: it shows no bound."""
    bounded: dict[str, list[str]] = {}
    for name, (cell, *_) in groups.items():
        if cell["ceiling"] in groups and not cell["rate_is_given"]:
            bounded.setdefault(cell["ceiling"], []).append(name)
    return bounded


def _height_in(rows: Cells) -> float:
    return 0.9 + 0.27 * len(rows)


def _draw_throughput(axes: "Axes", cells: Cells) -> None:
    places, unit = range(len(cells)), cells[0]["unit"]
    axes.plot(places, [cell["now_per_s"] for cell in cells], color=BLUE, marker="o", label="now")
    if all(cell["baseline_per_s"] is not None for cell in cells):
        before = [cell["baseline_per_s"] for cell in cells]
        axes.plot(places, before, color=GREY, marker="s", linestyle="--", label="base")
    axes.legend(loc="lower right")
    _label(axes, cells, f"{unit} per s")


def _draw_throughputs(axes: "Axes", groups: Mapping[str, Cells]) -> None:
    """Groups of several cells as lines over their parameter's values, others as a level."""
    series = [cells for cells in groups.values() if len(cells) > 1]
    values = sorted({cell["value"] for cells in series for cell in cells})
    for colour, (name, cells) in zip(cycle((BLUE, ORANGE, GREEN, GREY)), groups.items(), strict=False):
        if len(cells) > 1:
            places = [values.index(cell["value"]) for cell in cells]
            axes.plot(places, [cell["now_per_s"] for cell in cells], color=colour, marker="o", label=name)
        else:
            axes.axhline(cells[0]["now_per_s"], color=colour, linestyle="--", label=cells[0]["cell"])
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    units = " / ".join(dict.fromkeys(cells[0]["unit"] for cells in groups.values()))
    axes.set(xlabel=" / ".join(dict.fromkeys(cells[0]["parameter"] for cells in series)), ylabel=f"{units} per s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")


def _draw_latency(axes: "Axes", cells: Cells) -> None:
    places = range(len(cells))
    for colour, marker, name in ((GREEN, "o", "p50"), (BLUE, "^", "p95"), (ORANGE, "D", "p99")):
        for side, label, fill, line in (("now", name, "full", "-"), ("base", f"{name}, base", "none", ":")):
            values = [cell[side] and cell[side][f"latency_{name}_ms"] for cell in cells]
            if any(value is not None for value in values):
                axes.plot(places, values, color=colour, marker=marker, label=label, fillstyle=fill, linestyle=line)
    _set_log_scale(axes)
    _label(axes, cells, "ms")
    axes.set_ylim(bottom=None)
    axes.legend(loc="upper left", ncols=2)


def _set_log_scale(axes: "Axes") -> None:
    """Put ticks at 1, 2 and 5 of each decade: an axis often holds only one power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter  # an extra, as in svg.py

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_cpu(axes: "Axes", cells: Cells) -> None:
    """A bar a cell: the measured process with each of its children, and the client."""
    rows = range(len(cells), 0, -1)
    parts = [
        {**(cell["now"]["cpu_cores_by_process"] or {"measured process": cell["now"]["cpu_cores"] or 0.0})}
        | ({"client": cell["now"]["client_cpu_cores"]} if cell["now"]["client_cpu_cores"] else {})
        for cell in cells
    ]
    left, others = [0.0] * len(cells), [colour for colour in STAGE_COLOURS if colour != ORANGE]
    for place, name in enumerate(_find_most_used(parts)):
        widths = [part.get(name, 0.0) for part in parts]
        colour = ORANGE if name == "client" else others[place % len(others)]
        axes.barh(rows, widths, left=left, color=colour, height=0.6, label=name, **_hatch(place))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(list(rows), [cell["cell"] for cell in cells])
    axes.set_xlabel("cores")
    axes.figure.legend(loc="outside upper right", ncols=2)


def _find_most_used(parts: Sequence[Mapping[str, float]]) -> list[str]:
    """Names of what uses a hundredth of a core somewhere, in their order."""
    names = dict.fromkeys(name for part in parts for name in part)
    return [name for name in names if max(part.get(name, 0.0) for part in parts) >= 0.01]


def _draw_stages(axes: "Axes", cells: Cells, figure: str, unit: str) -> None:
    """A bar a cell, and side by side one for the base below it; shares where the unit is a percentage."""
    names = list(dict.fromkeys(stage["name"] for cell in cells for stage in cell["stages"]))
    colours = {name: STAGE_COLOURS[place % len(STAGE_COLOURS)] for place, name in enumerate(names)}
    unnamed: set[str | None] = set(names)
    for row, cell in zip(range(len(cells), 0, -1), cells, strict=True):
        arms = [arm for arm in ("now", "base") if cell["stages"][0][arm] is not None]
        for arm, offset in zip(arms, (0.2, -0.2) if len(arms) > 1 else (0.0,), strict=True):
            widths = [max(0.0, stage[arm][figure] or 0.0) for stage in cell["stages"]]
            scale = 100 / sum(widths) if unit.startswith("%") else 1.0
            left = 0.0
            for stage, width in zip(cell["stages"], widths, strict=True):
                label = stage["name"] if stage["name"] in unnamed and arm == "now" and width else None
                unnamed.discard(label)
                axes.barh(
                    row + offset,
                    width * scale,
                    left=left,
                    height=0.36,
                    color=colours[stage["name"]],
                    alpha=1.0 if arm == "now" else 0.55,
                    label=label and name_stage(label),
                    **_hatch(names.index(stage["name"])),
                )
                left += width * scale
    axes.set_yticks(range(len(cells), 0, -1), [cell["cell"] for cell in cells])
    axes.set_xlabel(unit + ("; paler: the base" if any(cell["stages"][0]["base"] for cell in cells) else ""))
    axes.figure.legend(loc="outside upper right", ncols=3)


def _hatch(place: int) -> dict[str, Any]:
    """The pattern that a bar's part has besides its colour."""
    return {"hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white", "linewidth": 0.0}


def _draw_gpu(axes: "Axes", cells: Cells) -> None:
    rows = range(len(cells), 0, -1)
    axes.barh(rows, [cell["now"]["gpu_utilisation_percent"] for cell in cells], color=GREEN, height=0.6)
    axes.set_yticks(list(rows), [cell["cell"] for cell in cells])
    axes.set(xlabel="utilisation in %", xlim=(0, 100))


def _label(axes: "Axes", cells: Cells, ylabel: str) -> None:
    axes.set_xticks(range(len(cells)), [str(cell["value"]) for cell in cells])
    axes.set(xlabel=cells[0]["parameter"], ylabel=ylabel)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)

"""A run's document as one HTML page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servegate.judging.figures.kinds import write_change
from servegate.report.changes import find_scale, list_rows
from servegate.report.figures import FIGURES, short, show_percent
from servegate.report.headline import describe_run, headline, write_command
from servegate.report.html import render_html
from servegate.report.older_documents import complete
from servegate.report.plots import choose_plots
from servegate.report.svg import draw_svgs


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes
    ----------
    path:
        Where an entry of the document has the figure, as in `now.cpu_cores`.
    show:
        Writes the figure for a reader.
    usual:
        A figure that tells nothing: a column of it alone is left out, as is one without any figure.
    """

    heading: str
    path: str
    show: Callable[[float], str]
    usual: float | None = None

    def find(self, entry: Mapping[str, Any]) -> float | None:
        """Return the entry's figure; None where it has none."""
        value: Any = entry
        for key in self.path.split("."):
            if value is None:
                return None
            value = value[key]
        number: float | None = value
        return number


def _show_ms(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else short(value)


_signed = "{:+.1%}".format
_COLUMNS = (
    Column("now, per s", "now_per_s", short),
    Column("base, per s", "baseline_per_s", short),
    Column("change", "change.estimate", _signed),
    Column("95 % from", "change.low", _signed),
    Column("to", "change.high", _signed),
    Column("slow answers", "now.slow_share", show_percent),
    Column("base", "base.slow_share", show_percent),
    Column("beyond, ms", "slow_ms", short),
    *(Column(figure.heading, f"now.{figure.name}", figure.show, figure.usual) for figure in FIGURES),
)
_STAGE_COLUMNS = (
    Column("CPU, ms", "now.cpu_ms", _show_ms),
    Column("base", "base.cpu_ms", _show_ms),
    Column("change", "change_of_cpu_time.estimate", _signed),
    Column("95 % from", "change_of_cpu_time.low", _signed),
    Column("to", "change_of_cpu_time.high", _signed),
    Column("time, ms", "now.ms", _show_ms),
    Column("base", "base.ms", _show_ms),
    Column("change", "change_of_time.estimate", _signed),
    Column("95 % from", "change_of_time.low", _signed),
    Column("to", "change_of_time.high", _signed),
)


def _make_figure_columns(figure: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns of a figure's row: each figure has its own units."""

    def show_value(value: float) -> str:
        shown = value / figure["value_scale"]
        return f"{shown:.0f} {figure['value_unit']}" if abs(shown) >= 100 else f"{shown:.2f} {figure['value_unit']}"

    def show_change(change: float) -> str:
        return write_change(change / figure["scale"], figure["unit"])

    return (
        Column("change", "change.estimate", show_change),
        Column("95 % from", "change.low", show_change),
        Column("to", "change.high", show_change),
        Column("now", "head", show_value),
        Column("base", "base", show_value),
        Column("excluded", "excluded", show_change),
        Column("margin", "margin", show_change),
    )


def render_run(document: Mapping[str, Any]) -> str:
    """Return the whole page. Every figure in a table is a `<data>` element that names its place in the document."""
    document = complete(document)
    cells, rows = document["cells"], list_rows(document)
    return render_html(
        "run.html",
        run=document,
        headline=headline(document),
        description=describe_run(document),
        rows=rows,
        scale=find_scale(rows),
        evidence=[
            *((group["group"], group) for group in document["groups"]),
            *((figure["figure"], figure) for figure in document["figures"]),
            *((cell["cell"], cell) for cell in cells),
        ],
        figures=[(figure, _make_figure_columns(figure)) for figure in document["figures"]],
        columns=_find_telling(_COLUMNS, cells),
        stage_columns=_find_telling(_STAGE_COLUMNS, [stage for cell in cells for stage in cell["stages"]]),
        plots=draw_svgs(choose_plots(document)),
        machine=_describe_machine(document),
        baseline_details={entry["name"]: entry["then"] for entry in document["differences"]},
        command=write_command(document),
    )


def _find_telling(columns: Iterable[Column], entries: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Leave out the columns that tell nothing of any entry."""
    return [column for column in columns if any(column.find(entry) not in (None, column.usual) for entry in entries)]


def _describe_machine(document: Mapping[str, Any]) -> dict[str, str]:
    machine = document["machine"]
    return {
        "class": machine["class"],
        "CPU": f"{machine['cpu_model']}, {machine['usable_cores']} usable cores",
        "GPU": f"{machine['gpu_count']} x {machine['gpu_name']}" if machine["gpu_name"] else "none",
        "began": document["began"],
        **{f"sent to {group}": _describe_requests(requests) for group, requests in document["requests"].items()},
        **machine["details"],
    }


def _describe_requests(requests: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(map(_describe_request, requests))


def _describe_request(request: Mapping[str, Any]) -> str:
    size = request["body_bytes"]
    shown = f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} bytes"
    kind = f"{request['kind']}: " if request["kind"] is not None else ""
    return f"{kind}{request['method']} {request['path']}, {shown}"

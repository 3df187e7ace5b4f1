"""A run's document as one HTML page."""

from collections.abc import Callable, Mapping, Sequence
from shlex import join
from typing import Any

from servegate.report.figures import short
from servegate.report.plots import draw_plots
from servegate.report.skeleton import render, render_plots, text
from servegate.report.summary import describe_run, headline

# Heading, where a cell or a stage has the figure, and how it is shown.
_Column = tuple[str, tuple[str, ...], Callable[[float], str]]


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.1%}"


def _cores(value: float) -> str:
    return f"{value:.2f}"


def _ms(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else short(value)


def _mib(value: float) -> str:
    return f"{value / 2**20:.0f}"


_COLUMNS: Sequence[_Column] = (
    ("now, per s", ("now_per_s",), short),
    ("baseline", ("baseline_per_s",), short),
    ("change", ("change", "estimate"), _signed),
    ("95 % from", ("change", "low"), _signed),
    ("to", ("change", "high"), _signed),
    ("p50, ms", ("now", "latency_p50_ms"), short),
    ("p95, ms", ("now", "latency_p95_ms"), short),
    ("p99, ms", ("now", "latency_p99_ms"), short),
    ("right answers", ("now", "success_rate"), _percent),
    ("CPU, cores", ("now", "cpu_cores"), _cores),
    ("client, cores", ("now", "client_cpu_cores"), _cores),
    ("core-ms each", ("now", "core_ms_per_unit"), short),
    ("memory, MiB", ("now", "memory_bytes"), _mib),
    ("GPU, %", ("now", "gpu_utilisation_percent"), short),
    ("GPU memory, MiB", ("now", "gpu_memory_bytes"), _mib),
    ("GPU, W", ("now", "gpu_power_w"), short),
    ("GPU, J each", ("now", "gpu_energy_j_per_unit"), short),
    ("GPU, °C", ("now", "gpu_temperature_c"), short),
    ("GPU, MHz", ("now", "gpu_sm_clock_mhz"), short),
    ("telemetry's CPU", ("now", "telemetry_share"), _percent),
)
_STAGE_COLUMNS: Sequence[_Column] = (
    ("CPU, ms", ("now", "cpu_ms"), _ms),
    ("base", ("base", "cpu_ms"), _ms),
    ("change", ("change_of_cpu_time", "estimate"), _signed),
    ("95 % from", ("change_of_cpu_time", "low"), _signed),
    ("to", ("change_of_cpu_time", "high"), _signed),
    ("time, ms", ("now", "ms"), _ms),
    ("base", ("base", "ms"), _ms),
    ("change", ("change_of_time", "estimate"), _signed),
    ("95 % from", ("change_of_time", "low"), _signed),
    ("to", ("change_of_time", "high"), _signed),
)


def render_page(document: Mapping[str, Any]) -> str:
    """The whole page. Every figure of a cell is a `<data>` element that names its place in the document."""
    verdict = document["verdict"]
    sections = [
        f'<h1 class="{text(verdict)}">{text(headline(document))}</h1><p>{text(describe_run(document))}</p>',
        *(f"<p>{text(note)}</p>" for note in document["notes"]),
        _reasons(document["cells"]),
        f"<h2>Figures</h2>{_table_of_cells(document['cells'])}",
        f"<h2>Plots</h2>{render_plots(draw_plots(document))}",
        *_section_of_stages(document["cells"]),
        "<h2>Measured on</h2>",
        _table_of_machine(document),
        "<h2>Repeat it</h2>",
        f"<pre>{text(join(['pytest', *document['arguments']]))}</pre>",
    ]
    return render(headline(document), sections)


def _reasons(cells: Sequence[Mapping[str, Any]]) -> str:
    """What failed is open, what passed can be opened."""
    parts = []
    for cell in cells:
        evidence = "\n".join((cell["reason"], *cell["evidence"]))
        parts.append(
            f"<details{' open' if cell['fails'] else ''}><summary><b>{text(cell['cell'])}</b> "
            f'<span class="{text(cell["status"])}">{text(cell["status"])}</span></summary>'
            f"<pre>{text(evidence)}</pre></details>"
        )
    return "\n".join(parts)


def _table_of_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """Columns without a figure in any cell are left out, and that of right answers where all were."""
    columns = [
        (name, path, form)
        for name, path, form in _COLUMNS
        if {_at(cell, path) for cell in cells} - {None, 1.0 if path[-1] == "success_rate" else None}
    ]
    heads = [
        f'<td>{text(cell["cell"])}</td><td class="name {text(cell["status"])}">{text(cell["status"])}</td>'
        for cell in cells
    ]
    rows = [
        head + _figures(cell, ("cells", str(number)), columns)
        for number, (head, cell) in enumerate(zip(heads, cells, strict=True))
    ]
    return _table('<th>cell</th><th class="name">verdict</th>', columns, rows)


def _section_of_stages(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Nothing where no service told its stages."""
    stages = [
        (cell["cell"], ("cells", str(number), "stages", str(place)), stage)
        for number, cell in enumerate(cells)
        for place, stage in enumerate(cell["stages"])
    ]
    if not stages:
        return []
    columns = [column for column in _STAGE_COLUMNS if any(_at(stage, column[1]) is not None for _, _, stage in stages)]
    rows = [
        f'<td>{text(cell if place[-1] == "0" else "")}</td><td class="name">{text(stage["name"])}</td>'
        + _figures(stage, place, columns)
        for cell, place, stage in stages
    ]
    table = _table('<th>cell</th><th class="name">stage</th>', columns, rows)
    said = "Means over requests; CPU time of what requests share is shared out. The rest is what no stage accounts for."
    return [f"<h2>Where a request's time goes</h2><p>{said}</p>{table}"]


def _table(first: str, columns: Sequence[_Column], rows: Sequence[str]) -> str:
    heading = first + "".join(f"<th>{text(name)}</th>" for name, _, _ in columns)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{heading}</tr>{body}</table></div>'


def _figures(entry: Mapping[str, Any], place: Sequence[str], columns: Sequence[_Column]) -> str:
    """A cell of the table for each column; a figure names its place in the document."""
    figures = []
    for _, path, form in columns:
        value = _at(entry, path)
        named = "" if value is None else f'<data value="{value!r}" data-place="{".".join((*place, *path))}">'
        figures.append(f"<td>{named}{'' if value is None else text(form(value)) + '</data>'}</td>")
    return "".join(figures)


def _at(cell: Mapping[str, Any], path: Sequence[str]) -> float | None:
    value: Any = cell
    for key in path:
        if value is None:
            return None
        value = value[key]
    number: float | None = value
    return number


def _table_of_machine(document: Mapping[str, Any]) -> str:
    machine, then = document["machine"], {entry["name"]: entry["then"] for entry in document["differences"]}
    gpu = f"{machine['gpu_count']} x {machine['gpu_name']}" if machine["gpu_name"] else "none"
    facts = {
        "class": machine["class"],
        "CPU": f"{machine['cpu_model']}, {machine['usable_cores']} usable cores",
        "GPU": gpu,
        "began": document["began"],
        **machine["details"],
    }
    rows = "".join(
        f'<tr><td>{text(name)}</td><td class="text">{text(value)}'
        + (f" (baseline: {text(then[name])})" if name in then else "")
        + "</td></tr>"
        for name, value in facts.items()
    )
    return f'<div class="wide"><table>{rows}</table></div>'

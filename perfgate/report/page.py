"""A run's document as one HTML page."""

from collections.abc import Callable, Mapping, Sequence
from shlex import join
from typing import Any

from perfgate.report.figures import short
from perfgate.report.plots import plots_of
from perfgate.report.skeleton import render, render_plots, text
from perfgate.report.summary import headline, said_of

# Heading, where a cell has the figure, and how it is shown.
_Column = tuple[str, tuple[str, ...], Callable[[float], str]]


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.1%}"


def _cores(value: float) -> str:
    return f"{value:.2f}"


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
)


def render_page(document: Mapping[str, Any]) -> str:
    """The whole page. Every figure of a cell is a `<data>` element that names its place in the document."""
    verdict = document["verdict"]
    sections = [
        f'<h1 class="{text(verdict)}">{text(headline(document))}</h1><p>{text(said_of(document))}</p>',
        *(f"<p>{text(note)}</p>" for note in document["notes"]),
        _reasons(document["cells"]),
        f"<h2>Figures</h2>{_table_of_cells(document['cells'])}",
        f"<h2>Plots</h2>{render_plots(plots_of(document))}",
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
    heading = "".join(f"<th>{text(name)}</th>" for name, _, _ in columns)
    rows = "".join(
        f'<tr><td>{text(cell["cell"])}</td><td class="text {text(cell["status"])}">{text(cell["status"])}</td>'
        + "".join(f"<td>{_figure(cell, number, path, form)}</td>" for _, path, form in columns)
        + "</tr>"
        for number, cell in enumerate(cells)
    )
    return f'<div class="wide"><table><tr><th>cell</th><th class="text">verdict</th>{heading}</tr>{rows}</table></div>'


def _figure(cell: Mapping[str, Any], number: int, path: Sequence[str], form: Callable[[float], str]) -> str:
    value = _at(cell, path)
    if value is None:
        return ""
    place = ".".join(("cells", str(number), *path))
    return f'<data value="{value!r}" data-place="{place}">{text(form(value))}</data>'


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

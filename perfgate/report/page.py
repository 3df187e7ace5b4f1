"""A run's document as one HTML page: no script, nothing fetched, light and dark, fit for a phone and for paper."""

import html
from collections.abc import Callable, Mapping, Sequence
from shlex import join
from typing import Any

from perfgate.report.plots import plots_of
from perfgate.report.summary import headline, said_of

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --good: #1b7f5f; --bad: #b4491a; --other: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc79f; --bad: #f0955f; --other: #a5a5a5; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.PASS, .IMPROVED { color: var(--good); } .REGRESSED, .INVALID { color: var(--bad); }
.INCONCLUSIVE, .NO_BASELINE { color: var(--other); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; vertical-align: bottom; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; max-width: 34rem; display: block; }
details { margin: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .7rem; background: var(--soft); border-radius: 6px; font-size: .85rem; }
@media print { body { max-width: none; padding: 0; } details:not([open]) { display: none; } }
"""

# Heading, where a cell has the figure, and how it is shown.
_Column = tuple[str, tuple[str, ...], Callable[[float], str]]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.1%}"


def _cores(value: float) -> str:
    return f"{value:.2f}"


def _mib(value: float) -> str:
    return f"{value / 2**20:.0f}"


_COLUMNS: Sequence[_Column] = (
    ("now, per s", ("now_per_s",), _short),
    ("baseline", ("baseline_per_s",), _short),
    ("change", ("change", "estimate"), _signed),
    ("95 % from", ("change", "low"), _signed),
    ("to", ("change", "high"), _signed),
    ("p50, ms", ("now", "latency_p50_ms"), _short),
    ("p95, ms", ("now", "latency_p95_ms"), _short),
    ("p99, ms", ("now", "latency_p99_ms"), _short),
    ("right answers", ("now", "success_rate"), _percent),
    ("CPU, cores", ("now", "cpu_cores"), _cores),
    ("client, cores", ("now", "client_cpu_cores"), _cores),
    ("core-ms each", ("now", "core_ms_per_unit"), _short),
    ("memory, MiB", ("now", "memory_bytes"), _mib),
    ("GPU, %", ("now", "gpu_utilisation_percent"), _short),
    ("GPU memory, MiB", ("now", "gpu_memory_bytes"), _mib),
    ("GPU, W", ("now", "gpu_power_w"), _short),
    ("GPU, J each", ("now", "gpu_energy_j_per_unit"), _short),
)


def render_page(document: Mapping[str, Any]) -> str:
    """The whole page. Every figure of a cell is a `<data>` element that names its place in the document."""
    verdict = document["verdict"]
    sections = [
        f'<h1 class="{_text(verdict)}">{_text(headline(document))}</h1><p>{_text(said_of(document))}</p>',
        *(f"<p>{_text(note)}</p>" for note in document["notes"]),
        _reasons(document["cells"]),
        f"<h2>Figures</h2>{_table_of_cells(document['cells'])}",
        '<h2>Plots</h2><div class="plots">',
        *(
            f"<figure><figcaption>{_text(title)}</figcaption>{_labelled(svg, title)}</figure>"
            for title, svg in plots_of(document).items()
        ),
        "</div>",
        "<h2>Measured on</h2>",
        _table_of_machine(document),
        "<h2>Repeat it</h2>",
        f"<pre>{_text(join(['pytest', *document['arguments']]))}</pre>",
    ]
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(headline(document))}</title><style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def _reasons(cells: Sequence[Mapping[str, Any]]) -> str:
    """What failed is open, what passed can be opened."""
    parts = []
    for cell in cells:
        evidence = "\n".join((cell["reason"], *cell["evidence"]))
        parts.append(
            f"<details{' open' if cell['fails'] else ''}><summary><b>{_text(cell['cell'])}</b> "
            f'<span class="{_text(cell["status"])}">{_text(cell["status"])}</span></summary>'
            f"<pre>{_text(evidence)}</pre></details>"
        )
    return "\n".join(parts)


def _table_of_cells(cells: Sequence[Mapping[str, Any]]) -> str:
    """Columns without a figure in any cell are left out."""
    columns = [column for column in _COLUMNS if any(_at(cell, column[1]) is not None for cell in cells)]
    heading = "".join(f"<th>{_text(name)}</th>" for name, _, _ in columns)
    rows = "".join(
        f"<tr><td>{_text(cell['cell'])}</td>"
        + "".join(f"<td>{_figure(cell, number, path, form)}</td>" for _, path, form in columns)
        + f'<td class="{_text(cell["status"])}">{_text(cell["status"])}</td></tr>'
        for number, cell in enumerate(cells)
    )
    return f'<div class="wide"><table><tr><th>cell</th>{heading}<th>verdict</th></tr>{rows}</table></div>'


def _figure(cell: Mapping[str, Any], number: int, path: Sequence[str], form: Callable[[float], str]) -> str:
    value = _at(cell, path)
    if value is None:
        return ""
    place = ".".join(("cells", str(number), *path))
    return f'<data value="{value!r}" data-place="{place}">{_text(form(value))}</data>'


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
        f'<tr><td>{_text(name)}</td><td class="text">{_text(value)}'
        + (f" (baseline: {_text(then[name])})" if name in then else "")
        + "</td></tr>"
        for name, value in facts.items()
    )
    return f'<div class="wide"><table>{rows}</table></div>'


def _labelled(svg: str, title: str) -> str:
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(title)}" ', 1)


def _text(text: str) -> str:
    return html.escape(text)

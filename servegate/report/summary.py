"""A run's document as Markdown for a pull request or a job's summary."""

from collections.abc import Mapping, Sequence
from typing import Any

from servegate.findings.wording import enumerate_names, quote
from servegate.judging.figures.kinds import write_change
from servegate.report.figures import short
from servegate.report.headline import describe_run, headline, write_command
from servegate.report.older_documents import complete

_QUIET = ("PASS", "not judged", "informs")
_MOST_FILES = 10
_OF_GROUPS = ("REGRESSED", "ALLOWED")


def render_summary(document: Mapping[str, Any]) -> str:
    """The run's sentence as a heading, a table of groups and cells, and the reasons of those that need a reader."""
    document = complete(document)
    lines = [f"## {_safe(document['sentence'])}", "", f"{headline(document)}. {describe_run(document)}", ""]
    lines += [
        "| group or cell | change | verdict | now, per s | base, per s | p95, ms |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for group in document["groups"]:
        lines.append(f"| **`{group['group']}`** | {_change(group['change'])} | {_verdict(group)} | | | |")
    for figure in document["figures"]:
        lines.append(f"| `{figure['figure']}` | {_change_of_figure(figure)} | {_verdict(figure)} | | | |")
    for cell in document["cells"]:
        now = cell["now"]
        lines.append(
            f"| `{cell['cell']}` | {_change(cell['change'])} | {_verdict(cell)} | {_number(cell['now_per_s'])} | "
            f"{_number(cell['baseline_per_s'])} | {_number(now['latency_p95_ms'] if now else None)} |"
        )
    for name, entry in _find_loud(document):
        evidence = "\n".join(entry["evidence"])
        lines += ["", f"<details><summary><code>{name}</code> {entry['status']}: {_safe(entry['reason'])}</summary>"]
        lines += ["", "```text", evidence, "```", "", "</details>"] if evidence else ["", "</details>"]
    if document["differences"]:
        lines += ["", "Differs from the baseline's machine: " + ", ".join(map(_difference, document["differences"]))]
    if document["changed_files"]:
        lines += ["", f"Changed: {_name_some(document['changed_files'])}"]
    lines += ["", *map(_safe, document["notes"]), f"Repeat it: `{write_command(document)}`"]
    return "\n".join(lines) + "\n"


def _name_some(files: Sequence[str]) -> str:
    """Name the first files between backticks; a backtick in a name would end them, so it is replaced."""
    named = [quote(name.replace("`", "'")) for name in files[:_MOST_FILES]]
    return enumerate_names([*named, f"{len(files) - _MOST_FILES} more"] if len(files) > _MOST_FILES else named)


def _difference(difference: Mapping[str, str]) -> str:
    return f"{difference['name']} {difference['then']} → {difference['now']}"


def _find_loud(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Groups and cells that need a reader, by name; a cell that has its verdict from its group is told with it."""
    told = {(cell, group["status"]) for group in document["groups"] for cell in group["cells"]}
    cells = [
        cell
        for cell in document["cells"]
        if cell["status"] not in _OF_GROUPS or (cell["cell"], cell["status"]) not in told
    ]
    entries = [(group["group"], group) for group in document["groups"]]
    entries += [(figure["figure"], figure) for figure in document["figures"]]
    entries += [(cell["cell"], cell) for cell in cells]
    return [(name, entry) for name, entry in entries if entry["status"] not in _QUIET]


def _verdict(entry: Mapping[str, str]) -> str:
    return entry["status"] if entry["status"] in _QUIET else f"**{entry['status']}**"


def _change(change: Mapping[str, float] | None) -> str:
    if change is None:
        return ""
    return f"{change['estimate']:+.1%} [{change['low']:+.1%}, {change['high']:+.1%}]"


def _change_of_figure(figure: Mapping[str, Any]) -> str:
    if figure["change"] is None:
        return ""
    estimate, low, high = (
        write_change(figure["change"][name] / figure["scale"], figure["unit"]) for name in ("estimate", "low", "high")
    )
    return f"{estimate} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "" if value is None else short(value)


def _safe(text: str) -> str:
    """A log's tail may stand in a reason: only its first line, and no tags."""
    return text.partition("\n")[0].replace("&", "&amp;").replace("<", "&lt;")

"""A run's document as Markdown for a pull request or a job's summary."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from servegate.report.figures import short

_QUIET = ("PASS", "not judged", "informs")


def render_summary(document: Mapping[str, Any]) -> str:
    """A heading with the verdict, a table of the cells, and the reasons of those that need a reader."""
    lines = [f"## {headline(document)}", "", describe_run(document), ""]
    lines += ["| cell | now, per s | baseline | change | p95, ms | verdict |", "|---|---:|---:|---:|---:|---|"]
    for cell in document["cells"]:
        change, now = cell["change"], cell["now"]
        lines.append(
            f"| `{cell['cell']}` | {_number(cell['now_per_s'])} | {_number(cell['baseline_per_s'])} | "
            f"{_change(change)} | {_number(now['latency_p95_ms'] if now else None)} | "
            f"{'**' + cell['status'] + '**' if cell['fails'] else cell['status']} |"
        )
    loud = [cell for cell in document["cells"] if cell["status"] not in _QUIET]
    for cell in loud:
        evidence = "\n".join(cell["evidence"])
        lines += [
            "",
            f"<details><summary><code>{cell['cell']}</code> {cell['status']}: {_safe(cell['reason'])}</summary>",
        ]
        lines += ["", "```text", evidence, "```", "", "</details>"] if evidence else ["", "</details>"]
    if document["differences"]:
        lines += ["", "Differs from the baseline's machine: " + ", ".join(map(_difference, document["differences"]))]
    lines += ["", *document["notes"], f"Repeat it: `{' '.join(['pytest', *document['arguments']])}`"]
    return "\n".join(lines) + "\n"


def headline(document: Mapping[str, Any]) -> str:
    """The verdict and how many cells have it, as in `REGRESSED: 2 of 8 cells`."""
    judged = [cell for cell in document["cells"] if cell["status"] != "informs"]
    count = Counter(cell["status"] for cell in judged)[document["verdict"]]
    missing = len(document["not_measured"])
    return f"{document['verdict']}: {count} of {len(judged)} cells" + (f", {missing} not measured" if missing else "")


def describe_run(document: Mapping[str, Any]) -> str:
    """One sentence: what was compared with what, where, and how long it took."""
    commit = document["commit"]
    measured = "the working tree" if commit is None else f"commit {commit[:12]}"
    if commit is not None and document["changed"]:
        measured += " with uncommitted changes"
    reference = document["compared_with"]
    if reference is None:
        against = "compared with nothing"
    elif reference["kind"] == "commit":
        against = f"compared side by side with {reference['reference']}"
    else:
        against = f"compared with the baseline of commit {reference['reference'][:12]}"
    took = f"in {document['minutes']:.1f} minutes"
    return f"{measured[0].upper()}{measured[1:]}, {against}, on {document['machine']['class']}, {took}."


def _difference(difference: Mapping[str, str]) -> str:
    return f"{difference['name']} {difference['then']} → {difference['now']}"


def _change(change: Mapping[str, float] | None) -> str:
    if change is None:
        return ""
    return f"{change['estimate']:+.1%} [{change['low']:+.1%}, {change['high']:+.1%}]"


def _number(value: float | None) -> str:
    return "" if value is None else short(value)


def _safe(text: str) -> str:
    """A log's tail may stand in a reason: only its first line, and no tags."""
    return text.partition("\n")[0].replace("&", "&amp;").replace("<", "&lt;")

"""The report of a run: a folder with `results.json`, `summary.md` and `index.html`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servegate.errors import ReportError
from servegate.report.run_page import render_run
from servegate.report.summary import render_summary

RESULTS = "results.json"


def write_report(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the three files, in place of those of a run before.

    Raises
    ------
    ReportError
        When the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # git ignores the folder: else a run would count as a change of the working tree, from which no baseline is
        # accepted.
        (folder / ".gitignore").write_text("*\n")
        (folder / RESULTS).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (folder / "summary.md").write_text(render_summary(document), encoding="utf-8")
        (folder / "index.html").write_text(render_run(document), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"no report in {folder}: {error.strerror}") from None

"""One step of `git bisect run`: decide whether the commit that is checked out is slower than a good one."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from servegate.judging.figures.judge import LEFT_TO_THROUGHPUT
from servegate.records import Status

# Exit statuses of `git bisect run`: good, bad, skip this commit; from 128 on it stops.
NOT_SLOWER, SLOWER, UNKNOWN, STOP = 0, 1, 125, 128
_NOT_SLOWER = frozenset({Status.PASS, Status.IMPROVED})


def run_step(good: str, arguments: Sequence[str], figure: str | None) -> int:
    """Have pytest compare the working tree with a good commit, and return the exit status for `git bisect run`.

    Parameters
    ----------
    good:
        A branch, tag or commit.
    arguments:
        The arguments of pytest: paths of performance tests, and options.
    figure:
        The figure by which to judge, as in `memory`; None for throughput.
    """
    with tempfile.TemporaryDirectory(prefix="servegate-bisect-") as report:
        command = [sys.executable, "-m", "pytest", *arguments, "--perf-versus", good, "--perf-report", report]
        command += ["--perf-slow-percent", ""]  # a limit that the good commit may miss, too, tells nothing
        status = subprocess.run(command, check=False).returncode
        if status == pytest.ExitCode.INTERRUPTED or status < 0:
            return STOP
        results = Path(report) / "results.json"
        return judge(json.loads(results.read_text(encoding="utf-8")), figure) if results.exists() else UNKNOWN


def judge(document: Mapping[str, Any], figure: str | None) -> int:
    """Translate a run's verdicts into an exit status for `git bisect run`.

    Parameters
    ----------
    document:
        The run's results, as docs/results-json.md describes them.
    figure:
        As in `run_step`.
    """
    if figure is None:
        judged = [*document["groups"], *(cell for cell in document["cells"] if not cell["rate_is_given"])]
    else:
        judged = [found for found in document["figures"] if found["name"] == figure]
    statuses = {found["status"] for found in judged} - {Status.INFORMS}
    # Such a figure became worse with throughput.
    is_left = any(found.get("reason") == LEFT_TO_THROUGHPUT for found in judged)
    if Status.REGRESSED in statuses or is_left:
        return SLOWER
    # A group that could not be measured may be the slower one.
    return NOT_SLOWER if statuses and statuses <= _NOT_SLOWER and not document["errors"] else UNKNOWN

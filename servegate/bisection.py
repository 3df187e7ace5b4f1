"""One step of `git bisect run`: whether the commit that is checked out is slower than a good one."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from servegate.records import Status

# What `git bisect run` takes these for: good, bad, skip this commit, and from 128 on: stop.
NOT_SLOWER, SLOWER, UNKNOWN, STOP = 0, 1, 125, 128
_NOT_SLOWER = frozenset({Status.PASS, Status.IMPROVED})


def run_step(good: str, arguments: Sequence[str], figure: str | None) -> int:
    """Have pytest compare the working tree with a good commit, and say what that means for the bisection.

    Parameters
    ----------
    good:
        A branch, tag or commit.
    arguments:
        Of pytest: which performance tests, and options.
    figure:
        The figure that is followed, as `memory`; None for throughput.
    """
    with tempfile.TemporaryDirectory(prefix="servegate-bisect-") as report:
        command = [sys.executable, "-m", "pytest", *arguments, "--perf-versus", good, "--perf-report", report]
        status = subprocess.run(command, check=False).returncode
        if status == pytest.ExitCode.INTERRUPTED or status < 0:
            return STOP
        results = Path(report) / "results.json"
        return judge(json.loads(results.read_text(encoding="utf-8")), figure) if results.exists() else UNKNOWN


def judge(document: Mapping[str, Any], figure: str | None) -> int:
    """What a run's document says of the commit.

    Parameters
    ----------
    document:
        As docs/results-json.md describes it.
    figure:
        As in `run_step`.
    """
    if figure is None:
        judged = [*document["groups"], *document["cells"]]
    else:
        judged = [found for found in document["figures"] if found["name"] == figure]
    statuses = {found["status"] for found in judged}
    if Status.REGRESSED in statuses:
        return SLOWER
    return NOT_SLOWER if statuses and statuses <= _NOT_SLOWER else UNKNOWN

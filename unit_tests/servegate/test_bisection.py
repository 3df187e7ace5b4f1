"""Tests of `servegate bisect-step`, and of `git bisect run` with it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from servegate.bisection import NOT_SLOWER, SLOWER, UNKNOWN, judge, run_step
from servegate.judging.figures.judge import LEFT_TO_THROUGHPUT
from unit_tests.builders.tiny_project import git


def document(groups: list[str], cells: list[str], figures: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "groups": [{"status": status} for status in groups],
        "cells": [{"status": status, "rate_is_given": False} for status in cells],
        "figures": [{"name": name, "status": status} for name, status in (figures or {}).items()],
        "errors": {},
    }


@pytest.mark.parametrize(
    ("groups", "cells", "status"),
    [
        (["PASS"], ["PASS", "IMPROVED"], NOT_SLOWER),
        (["PASS"], ["PASS", "informs"], NOT_SLOWER),
        ([], ["informs"], UNKNOWN),
        (["REGRESSED"], ["REGRESSED"], SLOWER),
        (["PASS"], ["PASS", "REGRESSED"], SLOWER),
        (["INCONCLUSIVE"], ["REGRESSED", "INCONCLUSIVE"], SLOWER),
        (["PASS"], ["PASS", "INCONCLUSIVE"], UNKNOWN),
        ([], ["BASE_FAILED"], UNKNOWN),
        ([], ["not judged"], UNKNOWN),
        (["PASS"], ["PASS", "INVALID"], UNKNOWN),
        ([], [], UNKNOWN),
    ],
)
def test_what_verdicts_mean_for_a_bisection(groups: list[str], cells: list[str], status: int) -> None:
    assert judge(document(groups, cells), None) == status


@pytest.mark.parametrize(("status", "meaning"), [("PASS", UNKNOWN), ("REGRESSED", SLOWER)])
def test_a_group_that_could_not_be_measured_may_be_slower(status: str, meaning: int) -> None:
    assert judge({**document([status], [status]), "errors": {"photo": "the server died"}}, None) == meaning


def test_one_figure_is_followed_alone() -> None:
    found = document(["REGRESSED"], ["REGRESSED"], {"memory": "PASS", "tail": "REGRESSED"})
    assert [judge(found, name) for name in ("memory", "tail", "growth")] == [NOT_SLOWER, SLOWER, UNKNOWN]


def test_a_cell_whose_load_sets_the_rate_says_nothing_of_throughput() -> None:
    found = document(["PASS"], ["PASS"])
    found["cells"].append({"status": "INVALID", "rate_is_given": True})
    assert judge(found, None) == NOT_SLOWER


@pytest.mark.parametrize(("reason", "status"), [(LEFT_TO_THROUGHPUT, SLOWER), ("3 of the 4 pairs", UNKNOWN)])
def test_a_figure_that_is_left_to_a_slower_groups_throughput_is_worse(reason: str, status: int) -> None:
    found = document(["REGRESSED"], ["REGRESSED"])
    found["figures"] = [{"name": "lateness", "status": "not judged", "reason": reason}]
    assert judge(found, "lateness") == status


# A worker that claims what its rounds took, so that the machine's noise plays no part.
WORKER = """\
import json
import sys

SECONDS = 0.001

if __name__ == "__main__":
    print(json.dumps({"ready": {}}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": [SECONDS] * json.loads(line)["rounds"]}), flush=True)
"""
TESTS = """\
import pytest

from servegate.api import WorkerTarget

model = WorkerTarget("model", ["{python}", "-m", "service.worker"])


@pytest.mark.perf_target(model)
def test_model(perf_cell):
    perf_cell.check()
"""
SHORT = ("--perf-blocks=2", "--perf-burst-seconds=0.05", "--perf-pairs=4")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One commit of a model without a server."""
    files = {
        "pytest.ini": "[pytest]\nperf_cells = model=1\n",
        ".gitignore": "__pycache__/\n.pytest_cache/\n.benchmarks/\n",
        "service/__init__.py": "",
        "service/worker.py": WORKER,
        "perf_tests/test_model.py": TESTS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "the first")
    git(tmp_path, "tag", "fast")
    return tmp_path


def commit(project: Path, message: str) -> str:
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(project, "rev-parse", "HEAD")


def change(project: Path, before: str, after: str) -> None:
    worker = project / "service" / "worker.py"
    assert before in worker.read_text()
    worker.write_text(worker.read_text().replace(before, after))


def step(project: Path) -> int:
    command = [sys.executable, "-m", "servegate", "bisect-step", "fast", "perf_tests", *SHORT]
    return subprocess.run(command, cwd=project, capture_output=True, check=False).returncode


def test_a_limit_of_latency_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The good commit may miss it, too, and such a cell would hide whether the service became slower."""
    commands: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert run_step("fast", ["perf_tests", "--perf-slow-percent=1"], None) == UNKNOWN
    assert commands[0][-2:] == ["--perf-slow-percent", ""]


def test_the_statuses_of_a_step(project: Path) -> None:
    assert step(project) == NOT_SLOWER
    change(project, "0.001", "0.0011")
    assert step(project) == SLOWER
    change(project, "import json", "raise SystemExit('no model')")
    assert step(project) == UNKNOWN


@pytest.mark.slow
@pytest.mark.parametrize("planted", [2, 5, 9, 11, 15])
def test_git_bisect_finds_the_commit_among_sixteen(project: Path, planted: int) -> None:
    """It is 10 % slower; the commit that git tries first doesn't start, and is skipped."""
    commits = []
    for number in range(16):
        if number == 7:
            change(project, "import json\n", "raise SystemExit('no model')\n")
        if number == 8:
            change(project, "raise SystemExit('no model')\n", "import json\n")
        if number == planted:
            change(project, "0.001", "0.0011")
        (project / "number.txt").write_text(f"{number}\n")
        commits.append(commit(project, f"number {number}"))
    git(project, "bisect", "start", "HEAD", "fast")
    said = git(project, "bisect", "run", sys.executable, "-m", "servegate", "bisect-step", "fast", "perf_tests", *SHORT)
    assert f"{commits[planted]} is the first bad commit" in said
    assert "git bisect skip" in git(project, "bisect", "log")

"""The examples as projects of their own: copied, made complete, with one commit."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unit_tests.builders.repository import ROOT
from unit_tests.builders.tiny_project import git

EXAMPLES = ROOT / "examples"
# Requests with a known right answer, as a user would give them to `servegate init`.
WRITTEN_BY_INIT = {
    "getting_started": ['{"input": 4.0}'],
    "src_layout": [
        '/words={"text": "a review is a review"}',
        "/upload=@review.txt",
        '/summary={"text": "a great film with a boring end"}',
    ],
    "own_weights": ['{"pixels": [0, 80, 80, 0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200, 0]}'],
}
# The quick tests start one example, the slow ones all.
STARTED = [pytest.param(name, marks=() if name == "getting_started" else pytest.mark.slow) for name in WRITTEN_BY_INIT]


def copy_example(name: str, folder: Path) -> Path:
    """Copy an example, with the files that git ignores and it needs, and commit it."""
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", "perf-report", "*.npz"))
    if (folder / "make_weights.py").exists():
        subprocess.run([sys.executable, "make_weights.py"], cwd=folder, check=True)
    git(folder, "init", "--quiet")
    commit_all(folder)
    return folder


def copy_unguarded(name: str, folder: Path) -> Path:
    """As `copy_example`, without the files that `servegate init` writes."""
    copy_example(name, folder)
    shutil.rmtree(folder / "perf_tests")
    (folder / "pytest.ini").unlink(missing_ok=True)
    pyproject = folder / "pyproject.toml"
    if pyproject.exists():
        pyproject.write_text(pyproject.read_text().partition("\n[tool.pytest")[0])
    commit_all(folder)
    return folder


def commit_all(folder: Path) -> None:
    """Commit the working tree."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")

"""`make setup` says in a sentence what the machine lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

from unit_tests.builders.repository import ROOT


def _setup(tmp_path: Path, program: str) -> "subprocess.CompletedProcess[str]":
    """Run it in an empty copy of the project, by an interpreter that begins with the program."""
    for name in ("requirements.lock", "requirements-gate.lock", "requirements-dev.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "sitecustomize.py").write_text(program)
    python = f"PYTHON=env PYTHONPATH={tmp_path} {sys.executable}"
    command = ["make", "--no-print-directory", "--file", str(ROOT / "Makefile"), "setup", python]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        pytest.param(
            "import importlib.util\nimportlib.util.find_spec = lambda name: None",
            "needs ensurepip, which Debian has in a package of its own: apt install python3-venv",
            id="no ensurepip",
        ),
        pytest.param(
            "import sys\nsys.version_info = (3, 10, 14, 'final', 0)",
            "needs Python 3.11 or newer: make PYTHON=python3.11",
            id="an old Python",
        ),
    ],
)
def test_what_the_machine_lacks_is_told_before_anything_is_made(tmp_path: Path, program: str, sentence: str) -> None:
    finished = _setup(tmp_path, program)
    assert finished.returncode != 0
    assert finished.stderr.splitlines()[0] == sentence
    assert not (tmp_path / ".venv").exists()

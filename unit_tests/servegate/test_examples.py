"""The examples: short, by the public interface alone, and what they measure."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from unit_tests.builders.repository import ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/perf_tests"))
# As short as can be: that the way leads from a server to a verdict is tested here, not the verdict.
SHORT = (
    "--perf-seconds=0.5",
    "--perf-warmup-seconds=0.2",
    "--perf-pairs=2",
    "--perf-blocks=2",
    "--perf-margin-percent=90",
)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
class TestFiles:
    """What a user has to write."""

    def test_performance_tests_are_at_most_15_lines_and_3_in_the_ini_file(self, example: Path) -> None:
        tests = [line for path in (example / "perf_tests").glob("*.py") for line in path.read_text().splitlines()]
        assert 5 < len([line for line in tests if line.strip()]) <= 15
        ini = [line for line in (example / "pytest.ini").read_text().splitlines() if line.startswith("perf_")]
        assert 1 <= len(ini) <= 3

    def test_they_import_the_public_interface_alone(self, example: Path) -> None:
        imported = {
            node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            for path in (example / "perf_tests").glob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert imported == {"pytest", "servegate.api"}


@pytest.mark.slow
def test_two_endpoints_are_gated_as_two_groups(tmp_path: Path) -> None:
    """One of them answers wrongly after a change: it alone fails."""
    project = tmp_path / "project"
    for name in ("service", "perf_tests"):
        (project / name).mkdir(parents=True)
    for path in (ROOT / "examples" / "two_endpoints").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and "perf-report" not in path.parts:
            (project / path.relative_to(ROOT / "examples" / "two_endpoints")).write_bytes(path.read_bytes())
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=project, check=True)
    server = project / "service" / "server.py"
    server.write_text(server.read_text().replace('startswith("#")', 'startswith("?")'))
    command = [sys.executable, "-m", "pytest", "perf_tests", "--perf-versus", "HEAD", *SHORT]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    cells = json.loads((project / "perf-report" / "results.json").read_text())["cells"]
    assert {cell["cell"]: cell["status"] == "INVALID" for cell in cells} == {
        "words[concurrency=1]": False,
        "words[concurrency=8]": False,
        "tags[concurrency=4]": True,
    }

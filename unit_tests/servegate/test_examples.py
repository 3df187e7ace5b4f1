"""Tests of the examples: they are short, import the public interface alone, and find a slowdown."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unit_tests.builders.example_projects import EXAMPLES, STARTED, WRITTEN_BY_INIT, copy_example

NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/perf_tests"))
# The shortest settings: these tests check that a run reaches a verdict, not which one.
SHORT = (
    "--perf-seconds=0.5",
    "--perf-warmup-seconds=0.2",
    "--perf-pairs=2",
    "--perf-blocks=2",
    "--perf-margin-percent=90",
)


# A file, a part of it, and the text in its place that makes a stage much slower: it waits, or computes far more.
SLOWER = {
    ("getting_started", "predict"): (
        "server.py",
        "        x = request",
        "        import time; time.sleep(0.01)\n        x = request",
    ),
    ("getting_started", "decode"): (
        "server.py",
        "    def predict",
        "    def decode_request(self, request):\n        import time; time.sleep(0.01)\n        return request\n\n"
        "    def predict",
    ),
    ("src_layout", "predict"): (
        "src/reviews/server.py",
        "        return dict(Counter",
        "        import time; time.sleep(0.01)\n        return dict(Counter",
    ),
    ("src_layout", "decode"): (
        "src/reviews/server.py",
        '        return request["text"]',
        '        import time; time.sleep(0.01)\n        return request["text"]',
    ),
    ("own_weights", "predict"): (
        "server.py",
        "        exponents =",
        "        _ = [x @ y @ y for y in hidden[1:] * 9]\n        exponents =",
    ),
    ("own_weights", "decode"): (
        "server.py",
        "        return np.asarray(",
        "        import time; time.sleep(0.01)\n        return np.asarray(",
    ),
}
# One cell is enough for these tests.
ONE_GROUP = {
    "getting_started": ("--perf-cells=api=4",),
    "src_layout": ("--perf-cells=words=4", "-k", "words"),
    "own_weights": ("--perf-cells=api=4",),
}


@pytest.mark.parametrize("name", NAMES)
class TestFiles:
    """The files that a user has to write, or that `servegate init` wrote."""

    def test_performance_tests_are_at_most_15_lines_and_3_in_the_ini_file(self, name: str) -> None:
        tests = [
            line for path in (EXAMPLES / name / "perf_tests").glob("*.py") for line in path.read_text().splitlines()
        ]
        texts = [file.read_text() for file in (EXAMPLES / name).glob("py*.*") if file.suffix in (".ini", ".toml")]
        ini = [line for text in texts for line in text.splitlines() if line.startswith("perf_")]
        endpoints = len(WRITTEN_BY_INIT.get(name, ()))  # init wrote their tests
        assert 5 < len([line for line in tests if line.strip()]) <= (8 + 10 * endpoints if endpoints else 15)
        assert 1 <= len(ini) <= (5 if endpoints else 3)

    def test_they_import_the_public_interface_alone(self, name: str) -> None:
        imported = {
            node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
            for path in (EXAMPLES / name / "perf_tests").glob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert imported - {"pathlib"} == {"pytest", "servegate.api"}


def compare(project: Path, *settings: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Compare the working tree with the last commit, and read the results."""
    command = [sys.executable, "-m", "pytest", "perf_tests", "--perf-versus", "HEAD", *settings]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    results = project / "perf-report" / "results.json"
    assert results.exists(), result.stdout + result.stderr
    return result, json.loads(results.read_text())


@pytest.mark.parametrize("name", STARTED)
def test_identical_code_does_not_fail(name: str, tmp_path: Path) -> None:
    project = copy_example(name, tmp_path / "project")
    result, document = compare(project, *SHORT, *ONE_GROUP[name])
    assert result.returncode == 0, result.stdout + result.stderr
    assert {cell["status"] for cell in document["cells"]} <= {"PASS", "INCONCLUSIVE"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), SLOWER)
def test_a_much_slower_stage_is_regressed(name: str, stage: str, tmp_path: Path) -> None:
    project = copy_example(name, tmp_path / "project")
    file, before, after = SLOWER[name, stage]
    text = (project / file).read_text()
    assert before in text
    (project / file).write_text(text.replace(before, after))
    result, document = compare(
        project, "--perf-pairs=4", "--perf-blocks=2", "--perf-burst-seconds=0.2", *ONE_GROUP[name]
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert [group["status"] for group in document["groups"]] == ["REGRESSED"]


@pytest.mark.slow
def test_two_endpoints_are_gated_as_two_groups(tmp_path: Path) -> None:
    """One of them answers wrongly after a change: it alone fails."""
    project = copy_example("two_endpoints", tmp_path / "project")
    server = project / "service" / "server.py"
    server.write_text(server.read_text().replace('startswith("#")', 'startswith("?")'))
    result, document = compare(project, *SHORT)
    assert result.returncode == 1, result.stdout + result.stderr
    assert {cell["cell"]: cell["status"] == "INVALID" for cell in document["cells"]} == {
        "words[concurrency=1]": False,
        "words[concurrency=8]": False,
        "tags[concurrency=4]": True,
    }

"""docs/api.md has an example of every public name, and the examples run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from servegate import api
from unit_tests.builders.example_projects import copy_example
from unit_tests.builders.pages import find_blocks, read_page

PAGE = "docs/api.md"
TEST_FILE = "perf_tests/test_page.py"
# As short as can be: the test is that the examples measure, not what they measure.
SHORT = ("--perf-processes=1", "--perf-seconds=0.5", "--perf-warmup-seconds=0.2")


def page_files() -> dict[str, str]:
    """The files that the page describes, by their paths."""
    files = {TEST_FILE: ""}
    for block in find_blocks(PAGE):
        if block.language == "ini":
            files["pytest.ini"] = block.text
        elif block.language == "python":
            named = re.match(r"# ([\w/]+\.py)\n", block.text)
            name = named[1] if named else TEST_FILE
            files[name] = files.get(name, "") + block.text
    return files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example project with the files of the page."""
    folder = copy_example("text_scores", tmp_path / "project")
    (folder / "perf_tests" / "test_api.py").unlink()
    for name, text in page_files().items():
        (folder / name).write_text(text)
    return folder


def run(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "perf_tests", *arguments]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_public_name_is_used_in_an_example_and_listed_with_a_link() -> None:
    tree = ast.parse(page_files()[TEST_FILE])
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(api.__all__) <= used
    listed = set(re.findall(r"\[`(\w+)`\]\(#", read_page(PAGE)))
    assert listed == set(api.__all__)


def test_the_examples_are_collected(project: Path) -> None:
    """They are imported, so that their assertions hold, and each cell of the page's settings has its test."""
    collected = run(project, "--collect-only", "-q")
    for test in ("test_api[1]", "test_api[8]", "test_kinds_of_texts[bad]", "test_latency[50]", "test_sums[8]"):
        assert f"{TEST_FILE}::{test}\n" in collected


@pytest.mark.slow
def test_the_examples_measure(project: Path) -> None:
    """Some seven cells, from four servers and a worker; the quick test above imports the same examples."""
    run(project, *SHORT)

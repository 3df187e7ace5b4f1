"""The walk of docs/your-own-service.md: the wheel alone, in an environment without torch, guards the example.

`make test-wheel` runs this; `make test` leaves it out, since it installs an environment.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from unit_tests.builders.repository import ROOT

EXAMPLE = ROOT / "examples" / "text_scores"
PAGE = (ROOT / "docs" / "your-own-service.md").read_text()
# As short as can be: that the way leads from a server to a verdict is tested here, not the verdict.
SHORT = (
    "--perf-seconds=0.5",
    "--perf-warmup-seconds=0.2",
    "--perf-pairs=2",
    "--perf-blocks=2",
    "--perf-margin-percent=90",
)

pytestmark = pytest.mark.wheel


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Without what the outer pytest has put into the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    environment |= dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "nobody")
    environment |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "nobody@example.org")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is, from the source distribution, of what git knows: an earlier build has left nothing."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in run(ROOT, "git", "ls-files", "servegate", "pyproject.toml", "README.md", "LICENSE").stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    built = run(folder, sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist")
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = (folder / "dist").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Its folder of programs: the wheel, and what the example pins."""
    folder = tmp_path_factory.mktemp("environment")
    assert run(folder, sys.executable, "-m", "venv", "venv").returncode == 0
    programs = folder / "venv" / "bin"
    requirements = (f"{wheel}[report]", "-r", EXAMPLE / "requirements.lock")
    installed = run(folder, programs / "pip", "install", "--quiet", *requirements)
    assert installed.returncode == 0, installed.stderr
    return programs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a project of its own, with one commit."""
    folder = tmp_path_factory.mktemp("a project") / "text scores"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "perf-report"))
    for command in (("git", "init", "-q"), ("git", "add", "-A"), ("git", "commit", "-qm", "all")):
        assert run(folder, *command).returncode == 0
    return folder


def results(project: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((project / "perf-report" / "results.json").read_text())
    return made


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """Its wings, the templates of the report, and the mark that it has types."""
    files = set(zipfile.ZipFile(wheel).namelist())
    assert "servegate/py.typed" in files
    assert set(run(ROOT, "git", "ls-files", "servegate").stdout.splitlines()) <= files


def test_the_environment_has_no_torch_and_no_service(environment: Path) -> None:
    for module in ("torch", "service"):
        assert run(environment, environment / "python", "-c", f"import {module}").returncode == 1


def test_the_page_shows_the_files_of_the_example() -> None:
    blocks = [block.strip() for block in re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL)]
    for name in ("perf_tests/test_api.py", "pytest.ini"):
        text = re.sub(r'^""".*?"""\n+', "", (EXAMPLE / name).read_text(), flags=re.DOTALL).strip()
        assert text in blocks, f"{name} is not in the page"


def test_measuring_alone_judges_nothing(environment: Path, project: Path) -> None:
    result = run(project, environment / "pytest", "perf_tests", *SHORT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert results(project)["verdict"] == "not judged"


def test_uncommitted_work_is_compared_with_the_last_commit(environment: Path, project: Path) -> None:
    result = run(project, environment / "pytest", "perf_tests", "--perf-versus", "HEAD", *SHORT)
    assert result.returncode == 0, result.stdout + result.stderr
    made = results(project)
    assert (made["compared_with"]["reference"], made["compared_with"]["subject"]) == ("HEAD", "all")
    assert [group["group"] for group in made["groups"]] == ["api"]


def test_a_change_that_answers_wrongly_fails(environment: Path, project: Path) -> None:
    server = project / "service" / "server.py"
    right = server.read_text()
    server.write_text(right.replace('"great": 2.0', '"great": 20.0'))
    result = run(project, environment / "pytest", "perf_tests", "--perf-versus", "HEAD", *SHORT)
    server.write_text(right)
    assert result.returncode == 1
    assert "answer.score is 0.8696" in result.stdout


def test_a_baseline_is_accepted_and_compared_with(environment: Path, project: Path) -> None:
    accepted = run(project, environment / "pytest", "perf_tests", "--perf-accept", *SHORT)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    result = run(project, environment / "pytest", "perf_tests", "--benchmark-compare", *SHORT)
    assert result.returncode == 0, result.stdout + result.stderr
    cells = results(project)["cells"]
    assert isinstance(cells, list)
    assert [cell["cell"] for cell in cells] == [f"api[concurrency={value}]" for value in (1, 8, 32)]
    assert all(cell["baseline_per_s"] for cell in cells)


def test_pytest_benchmark_shows_the_baseline(environment: Path, project: Path) -> None:
    """Typed in a project whose conftest.py imports the gate, where every warning is an error."""
    (project / "conftest.py").write_text("import servegate\n")
    (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (baseline,) = project.glob("perf_tests/baselines/*/baseline.json")
    shown = run(project, environment / "pytest-benchmark", "compare", baseline)
    assert shown.returncode == 0, shown.stderr
    assert "test_api[32]" in shown.stdout

"""Tests of `servegate doctor` on a small service and on the examples."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from servegate.session.machine_claim import VARIABLE, claim_machine
from unit_tests.builders import stub_server
from unit_tests.builders.example_projects import commit_all, copy_example
from unit_tests.builders.tiny_project import git

TESTS = """\
import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "server.py"])
answer = {"predictions": [{"label": "Cat", "probability": 0.9}]}
api = HttpTarget("api", service, Workload.from_json("/predict/MODE", {}, expected=answer))


@pytest.mark.perf_target(api)
def test_api(perf_cell):
    perf_cell.check()
"""
# The shortest settings: these tests check the text, not how small a slowdown is found.
INI = """\
[pytest]
perf_cells = api=2
perf_service = server.py
perf_blocks = 2
perf_burst_seconds = 0.2
"""


def doctor(folder: Path, *paths: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "servegate", "doctor", *paths]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose service is the stub server."""
    git(tmp_path, "init", "--quiet")
    shutil.copy(stub_server.__file__, tmp_path / "server.py")
    (tmp_path / "perf_tests").mkdir()
    (tmp_path / "pytest.ini").write_text(INI)
    write_tests(tmp_path, "right")
    return tmp_path


def write_tests(project: Path, mode: str) -> None:
    (project / "perf_tests" / "test_api.py").write_text(TESTS.replace("MODE", mode))
    commit_all(project)


@pytest.mark.slow
def test_a_project_that_can_be_measured_gets_a_promise(project: Path) -> None:
    result = doctor(project)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"service: ready after \d+\.\d s", lines[1])
    assert lines[2] == "api: POST /predict/right is answered as expected"
    assert any(re.search(r"differ by \d+\.\d % \(standard deviation; [3-8] pairs\)", line) for line in lines)
    assert any(re.match(r"Other programs used \d\.\d\d of \d+ cores", line) for line in lines)
    assert any(re.fullmatch(r"a pair takes \d+ s, and \d+ s after the first 4", line) for line in lines)
    promised = [line for line in lines if line.startswith("a slowdown of ")]
    assert [line.split(" %")[0] for line in promised] == ["a slowdown of 3", "a slowdown of 10"]
    assert lines[-1] == "next: change something, and  pytest perf_tests --perf-versus HEAD"


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("nearly-right", "answer.predictions[0].probability is 0.9"),
        ("not-json", "not JSON"),
        ("unknown", "there is no such path (status 404)"),
    ],
)
def test_a_wrong_answer_is_told_before_anything_is_measured(project: Path, mode: str, told: str) -> None:
    write_tests(project, mode)
    (project / "server.py").write_text((project / "server.py").read_text().replace("number % 3", "1"))
    result = doctor(project)
    assert result.returncode == 2
    assert told in result.stderr
    assert "pair 1" not in result.stdout


def test_a_service_that_needs_what_git_ignores_is_told_about_perf_carry(project: Path) -> None:
    (project / ".gitignore").write_text("model.bin\n")
    (project / "model.bin").touch()
    (project / "server.py").write_text("open('model' + '.bin')\n" + (project / "server.py").read_text())
    commit_all(project)
    result = doctor(project)
    assert result.returncode == 2
    assert "name in the ini file: perf_carry" in result.stderr


def test_it_ends_while_a_run_measures_if_it_is_told_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two measurements at a time would disturb each other."""
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / ".cache"))
    (project / "pytest.ini").write_text(f"{INI}perf_other_run = end\n")
    commit_all(project)
    claim = claim_machine("pytest perf_tests", Path("/theirs"), waits=False, progress=print)
    assert claim is not None
    with claim:
        monkeypatch.delenv(VARIABLE)
        result = doctor(project)
    assert result.returncode == 2
    assert "`pytest perf_tests` in /theirs" in result.stderr
    assert "pair 1" not in result.stdout


def test_a_project_without_performance_tests(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert result.returncode == 2
    assert "`servegate init` writes performance tests where there are none" in result.stderr


@pytest.mark.slow
def test_the_example_with_weights_of_its_own(tmp_path: Path) -> None:
    result = doctor(copy_example("own_weights", tmp_path / "project"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "perf_carry" not in result.stdout

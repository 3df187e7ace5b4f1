"""Tests of each obstacle by itself."""

from pathlib import Path, PurePosixPath

import pytest

from servegate.setup import obstacles
from servegate.setup.obstacles import find_in_code, find_in_repository, find_load, find_machine_limits, find_proxy
from servegate.telemetry.outside_load import CpuReading
from unit_tests.builders.tiny_project import git


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "the frequency governor is 'powersave'"),
        ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance", None),
        ("devices/system/cpu/smt/active", "1", "two threads share each core (SMT)"),
        ("devices/system/cpu/smt/active", "0", None),
        ("fs/cgroup/cpu.max", "150000 100000", "this container may use 1.5 cores"),
        ("fs/cgroup/cpu.max", "max 100000", None),
    ],
)
def test_the_machine(tmp_path: Path, file: str, text: str, told: str | None) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(f"{text}\n")
    found = list(find_machine_limits(tmp_path))
    assert [sentence[: len(told or "")] for sentence in found] == ([told] if told else [])


@pytest.mark.parametrize(("machine_s", "told"), [(13.5, "other programs use 3.0 cores now"), (10.6, None)])
def test_load_of_others_is_told_in_cores(monkeypatch: pytest.MonkeyPatch, machine_s: float, told: str | None) -> None:
    """Our own processes used half a second of the CPU time that the machine spent in one second."""
    readings = [CpuReading(0.0, 10.0, 1.0), CpuReading(1.0, machine_s, 1.5)]
    monkeypatch.setattr(obstacles, "read_cpu", lambda: readings.pop(0))
    monkeypatch.setattr(obstacles, "_WATCHED_S", 0.0)
    assert [sentence[: len(told or "")] for sentence in find_load()] == ([told] if told else [])


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({"http_proxy": "http://proxy:3128"}, True),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1"}, False),
        ({}, False),
    ],
)
def test_a_proxy(environment: dict[str, str], is_told: bool) -> None:
    assert bool(list(find_proxy(environment))) is is_told


NEEDED = {"service": [Path("server.py")], "performance tests": [Path("perf_tests")]}


def test_the_repository(tmp_path: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "--quiet")
    assert list(find_in_repository(origin, NEEDED)) == [
        "there is no commit yet, and a comparison needs one: git commit"
    ]
    for name in ("server.py", "other.py"):
        (origin / name).touch()
        git(origin, "add", "--all")
        git(origin, "commit", "--quiet", "--message", name)
    (told,) = find_in_repository(origin, NEEDED)
    assert told.startswith("the last commit has no performance tests (perf_tests)")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{origin}", str(clone))
    shallow, _ = find_in_repository(clone, NEEDED)
    assert shallow.endswith("git fetch --unshallow")


SERVER = PurePosixPath("server.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".gitignore").write_text("*.npz\n")
    (tmp_path / "weights.npz").touch()
    (tmp_path / "server.py").write_text("import numpy\nnumpy.load('weights.npz')\n")
    return tmp_path


def test_what_the_code_needs_and_would_not_get(project: Path) -> None:
    ignored, blas = find_in_code(project, SERVER, ["data/"], {})
    assert ignored.startswith("git ignores weights.npz, which the code names")
    assert ignored.endswith("perf_carry = data/ weights.npz")
    assert 'environment={"OPENBLAS_NUM_THREADS": "1"}' in blas


def test_files_that_only_other_programs_of_the_project_need_are_not_told(project: Path) -> None:
    """The server imports the package `app`, and `app` imports `shared`; nothing of it imports `tools`."""
    for name in ("app", "shared", "tools"):
        (project / "src" / name).mkdir(parents=True)
        (project / "src" / name / "__init__.py").write_text(f"FILE = '{name}.npz'\n")
        (project / f"{name}.npz").touch()
    (project / "src" / "app" / "main.py").write_text("from shared import FILE\n")
    (project / "server.py").write_text("import app.main\n")
    (told,) = find_in_code(project, SERVER, [], {})
    assert told.startswith("git ignores app.npz, shared.npz, which the code names")
    (told,) = find_in_code(project, PurePosixPath("src/tools"), [], {})
    assert told.startswith("git ignores tools.npz, which the code names")
    (project / "app-1.2").mkdir()
    (project / "app-1.2" / "main.py").write_text("FILE = 'tools.npz'\n")
    (told,) = find_in_code(project, PurePosixPath("app-1.2"), [], {})
    assert told.startswith("git ignores tools.npz, which the code names")
    (told,) = find_in_code(project, PurePosixPath("."), [], {})
    assert told.startswith("git ignores app.npz, shared.npz, tools.npz, which the code names")


def test_what_it_gets_is_not_told(project: Path) -> None:
    assert not list(find_in_code(project, SERVER, ["weights.npz"], {"OMP_NUM_THREADS": "1"}))
    (project / "server.py").write_text("import os, numpy\nos.environ['OPENBLAS_NUM_THREADS'] = '1'\n")
    assert not list(find_in_code(project, SERVER, ["weights.npz"], {}))

"""A process starts over once, with the environment that serving fast needs, and not again."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.environment import ensure_environment, is_satisfied, required_environment
from service.settings import SettingsError, load_settings
from unit_tests.builders.repository import ROOT

_PROGRAM = """
import json, os, sys
from service.environment import ensure_environment, required_environment
from service.settings import load_settings

settings = load_settings([], "test")
ensure_environment(settings, "program", sys.argv[1:])
names = required_environment(settings)
print(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:], "environment": {name: os.environ[name] for name in names}}))
"""


def test_the_allocator_keeps_memory_and_openmp_gets_the_workers_threads() -> None:
    """The three settings of glibc in bytes, and one thread count for all OpenMP pools."""
    settings = load_settings(["--workers-per-device", "1"], "unit_tests")
    required = required_environment(settings)
    assert required["OMP_NUM_THREADS"] == str(settings.threads_per_worker)
    assert required["MALLOC_TOP_PAD_"] == "268435456"
    assert required["MALLOC_TRIM_THRESHOLD_"] == required["MALLOC_MMAP_THRESHOLD_"] == "4294967296"


@pytest.mark.parametrize(
    ("environment", "satisfied"),
    [({"A": "1", "B": "2", "C": ""}, True), ({"A": "1"}, False), ({"A": "1", "B": "3"}, False), ({}, False)],
)
def test_the_environment_is_as_required_when_each_value_is(environment: Mapping[str, str], satisfied: bool) -> None:
    """Other variables don't matter; a missing or another value does."""
    assert is_satisfied({"A": "1", "B": "2"}, environment) is satisfied


def test_a_process_starts_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is the same with the variables set on top, and in that environment nothing is started."""
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setenv("OMP_NUM_THREADS", "57")
    monkeypatch.setenv("KEPT", "yes")
    settings = load_settings([], "unit_tests")

    ensure_environment(settings, "service.server", ["--port", "9000"])
    [(program, command, environment)] = started
    assert program == sys.executable
    assert command == [sys.executable, "-m", "service.server", "--port", "9000"]
    assert environment == {**os.environ, **required_environment(settings)}
    assert environment["KEPT"] == "yes"

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ensure_environment(settings, "service.server", ["--port", "9000"])
    assert len(started) == 1


def test_the_process_keeps_its_id_and_arguments(tmp_path: Path) -> None:
    """Whoever started it can still signal it: it is the same process, in the required environment."""
    (tmp_path / "program.py").write_text(_PROGRAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "OMP_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "program", "one", "two words"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output) == {
        "pid": process.pid,
        "argv": ["one", "two words"],
        "environment": required_environment(load_settings([], "unit_tests")),
    }


@pytest.fixture
def nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that is read-only, without a folder for temporary files."""

    def find_none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", find_none)


def test_shared_memory_takes_what_is_temporary_where_nothing_else_can_be_written(nothing_can_be_written: None) -> None:
    assert required_environment(load_settings([], "unit_tests"))["TMPDIR"] == "/dev/shm"


def test_without_that_it_is_a_sentence(nothing_can_be_written: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match="no folder for temporary files can be written to: mount one at /tmp, or"):
        required_environment(load_settings([], "unit_tests"))


def test_a_folder_for_temporary_files_is_left_as_it_is() -> None:
    assert "TMPDIR" not in required_environment(load_settings([], "unit_tests"))


def test_a_user_of_whom_only_a_number_is_known_has_home_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenShift starts containers so; OpenVINO asks for the home, torch for the name."""
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    required = required_environment(load_settings([], "unit_tests"))
    assert (required["HOME"], required["USER"]) == (tempfile.gettempdir(), "54321")
    for name in ("HOME", "USER"):
        monkeypatch.setenv(name, required[name])
    assert not {"HOME", "USER"} & required_environment(load_settings([], "unit_tests")).keys(), "once is enough"

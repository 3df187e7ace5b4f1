"""A process starts over once with the environment that it needs, and makes one folder for the metrics of all."""

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.environment import METRICS_FOLDER, ensure_environment, is_satisfied, required_environment
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


_SHARED_MEMORY = "/dev/shm"


def _required() -> Mapping[str, str]:
    return required_environment(load_settings([], "unit_tests"))


def _only_writable(monkeypatch: pytest.MonkeyPatch, *folders: Path | str) -> None:
    """Nothing else can be written to, as in a container with a read-only root."""
    writable = set(map(str, folders))

    def open_file(path: str, flags: int, mode: int = 0o777) -> int:
        if str(Path(path).parent) not in writable:
            raise OSError(30, "Read-only file system")
        return open_anywhere(path, flags, mode)

    open_anywhere = os.open
    monkeypatch.setattr(tempfile, "tempdir", None)  # it would remember what it found first
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "access", lambda path, _: path in writable)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)


def test_with_a_read_only_root_and_a_tmp_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server was started in /tmp itself, which is then Python's last choice, too."""
    _only_writable(monkeypatch, "/tmp")
    assert "TMPDIR" not in _required()
    monkeypatch.chdir("/tmp")
    assert "TMPDIR" not in _required()


def test_with_a_read_only_root_temporary_files_go_to_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the working directory can be written to, as a mounted volume of models can."""
    _only_writable(monkeypatch, _SHARED_MEMORY)
    assert _required()["TMPDIR"] == _SHARED_MEMORY
    _only_writable(monkeypatch, _SHARED_MEMORY, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _required()["TMPDIR"] == _SHARED_MEMORY


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP"])
def test_a_folder_that_is_meant_for_temporary_files_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is the working directory."""
    _only_writable(monkeypatch, tmp_path)
    monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "TMPDIR" not in _required()


def test_where_nothing_can_be_written_to_a_sentence_says_what_to_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    _only_writable(monkeypatch)
    with pytest.raises(SettingsError, match="no folder for temporary files can be written to: mount one at /tmp, or"):
        _required()


def _nobody_knows_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


def test_a_user_of_whom_only_a_number_is_known_has_a_home_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenShift starts containers; in that environment the process doesn't start over again."""
    _nobody_knows_this_user(monkeypatch)
    required = _required()
    assert (required["HOME"], required["USER"]) == (tempfile.gettempdir(), str(os.getuid()))
    for name, value in required.items():
        monkeypatch.setenv(name, value)
    assert is_satisfied(_required(), os.environ)


@pytest.mark.parametrize(("given", "missing"), [("HOME", "USER"), ("LOGNAME", "HOME")])
def test_what_is_known_of_a_user_stays(given: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some images set the one and not the other."""
    _nobody_knows_this_user(monkeypatch)
    monkeypatch.setenv(given, "/known")
    assert _required().keys() & {"HOME", "USER"} == {missing}


_COUNT = """
import os
from service.environment import METRICS_FOLDER, share_metrics

share_metrics()
from service import metrics

metrics.observe_batch_size(1)
print(os.environ[METRICS_FOLDER], len(os.listdir(os.environ[METRICS_FOLDER])))
"""


def _run(program: str, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("inherited", ["unset", "empty"])
def test_the_first_process_makes_a_folder_for_the_metrics_and_removes_it(
    inherited: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each server has a folder of its own, which is gone when the server ends."""
    monkeypatch.delenv(METRICS_FOLDER)
    finished = _run(_COUNT, {"TMPDIR": str(tmp_path)} | ({METRICS_FOLDER: ""} if inherited == "empty" else {}))
    folder, files = finished.stdout.split()
    assert Path(folder).parent == tmp_path
    assert int(files) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_inherits_the_folder_of_the_metrics_leaves_it(tmp_path: Path) -> None:
    """A worker that ends must not take its parent's metrics with it."""
    assert _run(_COUNT, {METRICS_FOLDER: str(tmp_path)}).returncode == 0
    assert list(tmp_path.glob("*.db"))


def test_it_is_too_late_to_share_metrics_once_prometheus_client_is_imported(tmp_path: Path) -> None:
    """Its metrics would be those of one process alone, and nobody would notice."""
    program = "import prometheus_client; from service.environment import share_metrics; share_metrics()"
    finished = _run(program, {"TMPDIR": str(tmp_path), METRICS_FOLDER: ""})
    assert finished.returncode == 1
    assert "share_metrics must come before the import of prometheus_client" in finished.stderr
    assert list(tmp_path.iterdir()) == []

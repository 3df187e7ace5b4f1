"""However a run ends, nothing that it has started stays."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from servegate.processes.guard import guard
from unit_tests.builders import programs
from unit_tests.builders.waiting import is_running, wait_until

# A run: starts a process with a child that has left its session, pauses the process, says what there is, and waits.
RUN = """
import pathlib, signal, sys, time
from servegate.processes.guard import guard
from servegate.processes.managed import ManagedProcess

# A shell's background job starts with SIGINT ignored, and what nohup starts with SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
parent, runaway, file = sys.argv[1:]
command = [sys.executable, "-c", parent, runaway, file]
process = ManagedProcess(command, cwd=pathlib.Path.cwd(), env={}, name="it")
while not (pathlib.Path(file).exists() and pathlib.Path(file).read_text()):
    time.sleep(0.01)
process.pause()
print(process.pid, pathlib.Path(file).read_text().strip(), guard().folder, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_a_run_has_started_ends_with_it(number: signal.Signals, tmp_path: Path) -> None:
    """A paused process, and one that is no longer of its session."""
    command = [sys.executable, "-c", RUN, programs.PARENT, programs.RUNAWAY + programs.STUBBORN, str(tmp_path / "pid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        parent, child, folder = run.stdout.readline().split()
        assert is_running(int(parent))
        assert is_running(int(child))
        run.send_signal(number)
        try:
            run.wait(60)
        finally:
            run.kill()  # or the context would wait for a run that has outlived its signal
    wait_until(lambda: not is_running(int(parent)), "the paused process is gone")
    wait_until(lambda: not is_running(int(child)), "the child that had left is gone")
    wait_until(lambda: not Path(folder).exists(), "its files are gone")


def test_a_run_within_a_run_ends_with_the_outer_one(tmp_path: Path) -> None:
    """As whole runs of the gate that something else starts."""
    outer = (
        "import os, subprocess, sys\nfrom servegate.processes.guard import guard\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], env={**os.environ, **guard().environment})"
    )
    arguments = [RUN, programs.PARENT, programs.RUNAWAY + programs.STUBBORN, str(tmp_path / "pid")]
    command = [sys.executable, "-c", outer, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        parent, child, folder = run.stdout.readline().split()
        run.kill()
        run.wait()
    for pid in (int(parent), int(child)):
        wait_until(lambda pid=pid: not is_running(pid), "it is gone")  # type: ignore[misc]
    wait_until(lambda: not Path(folder).exists(), "the inner run's files are gone")


def test_others_are_left_alone() -> None:
    """Among them what runs beside the run and has another mark."""
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], env={"SERVEGATE_RUN": "servegate-other"}
    ) as other:
        ended = subprocess.run(
            [sys.executable, "-c", "from servegate.processes.guard import guard; guard()"], check=False
        )
        assert ended.returncode == 0
        assert is_running(other.pid)
        other.kill()


def test_a_run_that_ends_by_itself_leaves_no_guard() -> None:
    program = "from servegate.processes.guard import guard; print(guard().folder, guard()._process.pid)"
    folder, pid = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(pid))


def test_it_is_started_once() -> None:
    assert guard() is guard()

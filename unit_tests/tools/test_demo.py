"""The demo plants one known slowdown, runs the gate on it, and leaves a report and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tools.demo import DemoError, judge, plant
from unit_tests.builders.repository import ROOT
from unit_tests.builders.tiny_project import git
from unit_tests.builders.waiting import wait_until

# A shell's background job starts with SIGINT ignored, and so would the demo.
PROGRAM = """
import signal, sys
from tools.demo import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


def start(temporary: Path, report: Path) -> "subprocess.Popen[str]":
    """Start the demo with a folder for its temporary files."""
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--report", str(report)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def commands_below(temporary: Path) -> list[str]:
    """The commands of the running processes whose temporary files are in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(str(temporary)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # it has ended, or belongs to another user
    return found


class TestPlanting:
    """The clone and its slow commit."""

    def test_the_slow_commit_changes_one_file_of_the_service_on_top_of_the_last_commit(self, tmp_path: Path) -> None:
        clone = plant(ROOT, tmp_path)
        assert git(clone, "rev-parse", "HEAD~1") == git(ROOT, "rev-parse", "HEAD")
        assert git(clone, "diff", "--name-only", "HEAD~1") == "service/model/classifier.py"
        assert git(clone, "status", "--porcelain") == ""
        assert git(clone, "log", "-1", "--format=%s") == "Make predict take twice as long"

    def test_a_folder_without_git_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DemoError, match="the demo clones the repository that it lies in: git rev-parse failed"):
            plant(tmp_path, tmp_path)

    def test_a_folder_of_another_repository_is_refused(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "--quiet")
        (tmp_path / "copy").mkdir()
        with pytest.raises(DemoError, match="is the folder copy/ of another repository"):
            plant(tmp_path / "copy", tmp_path)


@pytest.mark.parametrize(
    ("status", "is_found"), [("REGRESSED", True), ("INCONCLUSIVE", False), ("PASS", False), (None, False)]
)
def test_only_a_regressed_group_counts_as_found(status: str | None, is_found: bool) -> None:
    """A run that fails for another reason shows nothing; one that was cut short has no groups."""
    groups = [] if status is None else [{"group": "api", "status": status}]
    found, sentence = judge({"verdict": "INVALID", "groups": groups})
    assert found is is_found
    assert sentence.startswith("The gate found it" if is_found else "The gate didn't find it: its verdict is INVALID.")


@pytest.mark.slow
def test_the_gate_finds_what_was_planted_and_names_the_stage(tmp_path: Path) -> None:
    with start(tmp_path / "temporary", tmp_path / "report") as demo:
        output, _ = demo.communicate()
    assert demo.returncode == 0, output
    assert "`predict` takes" in output
    assert "api[concurrency=8]" in output
    assert "The gate found it" in output
    assert f"report: {tmp_path / 'report' / 'index.html'}" in output
    assert (tmp_path / "report" / "index.html").exists()
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_demo_that_is_stopped_leaves_no_process_and_no_file(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    """While the servers of both sides start."""
    temporary = tmp_path / "temporary"

    def are_servers_running() -> bool:
        return any("service.server" in command for command in commands_below(temporary))

    with start(temporary, tmp_path / "report") as demo:
        try:
            wait_until(are_servers_running, "a server runs", deadline_s=300)
            demo.send_signal(number)
            output, _ = demo.communicate(timeout=60)
        finally:
            demo.kill()  # or the context would wait for a demo that has outlived its signal
    assert demo.returncode == status, output
    assert ("the clone and what ran in it are removed" in output) is (number is signal.SIGINT)
    wait_until(lambda: not commands_below(temporary), "its processes are gone")
    wait_until(lambda: not list(temporary.iterdir()), "its files are gone")

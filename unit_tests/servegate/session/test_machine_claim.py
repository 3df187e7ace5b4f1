"""One run at a time measures on a machine; a second one waits or ends, as it was told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servegate.errors import MachineInUseError
from servegate.session.machine_claim import VARIABLE, MachineClaim, claim_machine
from unit_tests.builders.tiny_project import TinyProject

# Claims the machine, says so, and holds it until a line comes.
HOLDER = """
from pathlib import Path
from servegate.session.machine_claim import claim_machine

claim = claim_machine("pytest speed --perf-versus main", Path("/their/project"), waits=False, progress=print)
print("held", flush=True)
input()
"""
OWNER = "`pytest speed --perf-versus main` in /their/project (process {}, since "


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder of its own; nothing is claimed yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE)
    return tmp_path / "cache"


@pytest.fixture
def holder(cache: Path) -> Iterator[subprocess.Popen[str]]:
    """Another run that measures."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def claim(shown: list[str] | None = None) -> MachineClaim | None:
    progress = (shown if shown is not None else []).append
    return claim_machine("pytest perf_tests", Path("/ours"), waits=False, progress=progress)


def test_it_is_held_until_it_is_released_and_says_whose_it_is(cache: Path) -> None:
    held = claim()
    assert held is not None
    (file,) = (cache / "servegate").iterdir()
    owner = json.loads(file.read_text())
    assert (owner["process"], owner["command"], owner["folder"]) == (os.getpid(), "pytest perf_tests", "/ours")
    held.release()
    held.release()
    assert VARIABLE not in os.environ
    again = claim()
    assert again is not None
    again.release()


def test_a_second_run_that_is_to_end_names_the_first(holder: subprocess.Popen[str]) -> None:
    with pytest.raises(MachineInUseError) as raised:
        claim()
    assert str(raised.value).startswith(OWNER.format(holder.pid))
    assert "measures on this machine" in str(raised.value)
    assert "--perf-other-run wait" in str(raised.value)
    assert VARIABLE not in os.environ


def test_a_second_run_waits_until_the_first_has_ended(holder: subprocess.Popen[str]) -> None:
    shown: list[str] = []

    def progress(text: str) -> None:
        shown.append(text)
        assert holder.stdin is not None
        holder.stdin.write("\n")
        holder.stdin.flush()

    held = claim_machine("pytest perf_tests", Path("/ours"), waits=True, progress=progress)
    assert held is not None
    held.release()
    (text,) = shown
    assert text.startswith(f"waits until {OWNER.format(holder.pid)}")
    assert "--perf-other-run end" in text


def test_a_killed_run_holds_nothing(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    held = claim()
    assert held is not None
    held.release()


def test_a_run_within_a_run_is_part_of_it() -> None:
    held = claim()
    assert held is not None
    assert claim() is None
    inner = subprocess.run([sys.executable, "-c", HOLDER], input="\n", capture_output=True, text=True, check=False)
    assert (inner.returncode, inner.stdout) == (0, "held\n")
    held.release()


def test_without_a_cache_folder_it_says_that_nothing_keeps_others_away(cache: Path) -> None:
    cache.write_text("a file is no folder")
    shown: list[str] = []
    assert claim(shown) is None
    (text,) = shown
    assert text.startswith("nothing keeps a second run away from this one: ")


class TestInARunOfPytest:
    """The claim is made when cells are about to be measured here, and given up at the end."""

    def test_the_second_ends_before_anything_is_measured(
        self, tiny_project: TinyProject, holder: subprocess.Popen[str]
    ) -> None:
        result = tiny_project.run("perf_tests", "--perf-other-run=end")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert OWNER.format(holder.pid) in result.stdout.str() + result.stderr.str()
        assert tiny_project.measured == []

    @pytest.mark.parametrize(
        "arguments",
        [
            ("perf_tests", "--collect-only"),
            ("perf_tests", "-k", "nothing"),
            ("unit_tests",),
            ("perf_tests", "--perf-server-url=http://127.0.0.1:9", "--perf-cells=api=1"),
        ],
    )
    def test_what_measures_nothing_here_runs_beside_it(
        self, tiny_project: TinyProject, holder: subprocess.Popen[str], arguments: tuple[str, ...]
    ) -> None:
        result = tiny_project.run(*arguments, "--perf-other-run=end")
        assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)

    def test_it_is_given_up_at_the_end(self, tiny_project: TinyProject) -> None:
        tiny_project.run("perf_tests", "--perf-other-run=end").assert_outcomes(passed=3)
        held = claim()
        assert held is not None
        held.release()

"""The long tests of the service, run for a short time: their programs work, and what they look for isn't there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.stress.bad_requests import bad_requests
from tools.stress.soak import slopes_mb
from unit_tests.builders.repository import ROOT


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_bad_requests_and_killed_workers_cost_nobody_an_answer() -> None:
    """A quarter bad, a worker killed now and then: nothing wrong, nothing lost."""
    finished = _run("tools.stress.soak", "--requests", "1000", "--kill-every-s", "0.3")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("1000 requests in ")
    assert " 0 wrong, 0 lost; " in finished.stdout
    assert "; 0 workers" not in finished.stdout, "some were killed"


@pytest.mark.slow
def test_overload_is_refused_and_the_rest_answered() -> None:
    """Nothing else than a good answer or a refusal."""
    finished = _run("tools.stress.overload", "--rounds", "1", "--seconds", "3", "--times", "6")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    answers = {line.split(" x ")[1].partition(":")[0] for line in finished.stdout.splitlines() if " x " in line}
    refusal = "503 n requests are in work, no more fit in; try again later"
    assert answers == {"200", refusal}, finished.stdout


@pytest.mark.slow
def test_a_killed_run_of_the_suite_leaves_nothing() -> None:
    """Of the example service, which is the fastest to start."""
    finished = _run("tools.stress.kills", "--kills", "1", "--modes", "example compare")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert ": 0 things stayed" in finished.stdout


def test_thirty_kinds_and_more_are_bad() -> None:
    """Each has a name of its own."""
    assert len({bad.name for bad in bad_requests()}) == len(bad_requests()) >= 30


@pytest.mark.slow
def test_fuzzing_finds_nothing_in_a_few_seconds(tmp_path: Path) -> None:
    """It starts from its seeds and leaves what it learned in the corpus, no input that breaks anything among it."""
    finished = _run("tools.stress.fuzz", "--minutes", "0.05", "--corpus", str(tmp_path))
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert list(tmp_path.glob("found-*")) == []
    assert len(list(tmp_path.iterdir())) > len(list(tmp_path.glob("seed-*"))) > 20


@pytest.mark.parametrize(("a_request_mb", "slope_mb"), [(0.0, 0.0), (1e-4, 1.0)])
def test_memory_that_grows_with_the_requests_is_seen(a_request_mb: float, slope_mb: float) -> None:
    """After the warm-up, in which it may; for processes that were there from the start to the end."""
    points = [(n, 100.0 + (50.0 if n > 1_000 else 0.0) + a_request_mb * n) for n in range(0, 10_001, 100)]
    slopes = slopes_mb({1: points, 2: points[:50], 3: points[50:]}, 10_000)
    assert slopes == {1: pytest.approx(slope_mb, abs=1e-6)}

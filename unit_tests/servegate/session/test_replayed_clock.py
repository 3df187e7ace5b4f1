"""Seconds of another process inside pytest-benchmark, with pytest-benchmark's own statistics of them."""

import json

import pytest

from unit_tests.builders.tiny_project import TinyProject

_TEST_REPLAY = """\
import pytest

from servegate.session.replayed_clock import replay, replayed_clock


@pytest.mark.benchmark(timer=replayed_clock)
@pytest.mark.parametrize("rounds_s", [[0.5, 0.25, 4.0], [1e-6], [3600.0, 0.001]], ids=["several", "one", "far"])
def test_replay(rounds_s, benchmark):
    replay(benchmark, rounds_s)


def test_its_clock_stands_still_between_replays():
    assert replayed_clock() == replayed_clock()
"""


@pytest.mark.parametrize(
    ("name", "rounds_s"), [("several", [0.5, 0.25, 4.0]), ("one", [1e-6]), ("far", [3600.0, 0.001])]
)
def test_each_round_takes_as_long_as_the_measured_one_did(
    tiny_project: TinyProject, name: str, rounds_s: list[float]
) -> None:
    """In their order, each once, and without waiting for an hour."""
    tiny_project.write("unit_tests/test_replay.py", _TEST_REPLAY)
    tiny_project.run("unit_tests/test_replay.py", "--benchmark-json=result.json").assert_outcomes(passed=4)
    benchmarks = json.loads((tiny_project.root / "result.json").read_text())["benchmarks"]
    (data,) = [benchmark["stats"]["data"] for benchmark in benchmarks if benchmark["param"] == name]
    assert data == pytest.approx(rounds_s, rel=1e-6)

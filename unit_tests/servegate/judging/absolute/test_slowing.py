"""A process that gets slower as it runs is told apart from one that is slow."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from servegate.judging.absolute.slowing import describe_slowing
from unit_tests.builders.runs.samples import make_sample

EVEN = [0.1] * 12
HALFWAY = [0.1] * 6 + [0.15] * 6


def describe(*processes: Sequence[float]) -> str | None:
    return describe_slowing([replace(make_sample(), rounds_s=tuple(rounds_s)) for rounds_s in processes])


def test_a_process_that_slows_down_halfway_is_told_with_its_size() -> None:
    expected = "every process slows down as it runs: the last third of its rounds takes 50% longer than the first"
    assert describe(HALFWAY, HALFWAY, HALFWAY) == expected


def test_only_the_last_third_is_compared_with_the_first() -> None:
    said = describe([0.1] * 8 + [0.15] * 4, [0.1] * 8 + [0.15] * 4)
    assert said == "every process slows down as it runs: the last third of its rounds takes 50% longer than the first"


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param([HALFWAY, HALFWAY], id="two processes"),
        pytest.param([[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]] * 2, id="six rounds"),
        pytest.param([[1.0] * 6 + [1.15] * 6] * 2, id="15 % on average"),
        pytest.param([[1.0] * 6 + [1.05] * 6, [1.0] * 6 + [1.5] * 6], id="5 % in each"),
    ],
)
def test_just_enough_is_told(processes: list[list[float]]) -> None:
    assert describe(*processes) is not None


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param([EVEN, EVEN], id="even"),
        pytest.param([[0.2] * 12, [0.2] * 12], id="slow from the start on"),
        pytest.param([HALFWAY, HALFWAY, EVEN], id="not every process"),
        pytest.param([HALFWAY], id="one alone"),
        pytest.param([HALFWAY[::-1], HALFWAY[::-1]], id="faster and faster"),
        pytest.param([[0.1] * 6 + [0.11] * 6] * 3, id="a little"),
        pytest.param([[0.1, 0.1, 0.2, 0.2, 0.2]] * 3, id="too few rounds"),
        pytest.param([[], []], id="wrong answers"),
        pytest.param([], id="nothing"),
    ],
)
def test_anything_else_is_not(processes: list[list[float]]) -> None:
    assert describe(*processes) is None

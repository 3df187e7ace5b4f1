"""Slow answers: the common limit of both arms, and the share beyond it."""

from dataclasses import replace

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.pairs import PairFigure
from servegate.judging.slow_answers import with_common_limit, with_limit
from servegate.records import Cell, Sample, Status, Verdict
from unit_tests.builders.runs.samples import make_sample


def with_latencies(*latencies_ms: float) -> Sample:
    return replace(make_sample(), latencies_ms=latencies_ms)


def compare(*arms: tuple[Sample, Sample]) -> CellResult:
    pairs = [PairFigure(0.0, (0.0, 0.0), base, head, seconds=5.0) for base, head in arms]
    samples = [head for _, head in arms]
    return CellResult(Cell("api", "concurrency", 8), "requests", samples, Verdict(Status.PASS, ""), pairs)


def shares(result: CellResult) -> list[tuple[float | None, float | None]]:
    return [(pair.base.slow_share, pair.head.slow_share) for pair in result.pairs]


def test_what_is_slow_is_slower_than_99_of_100_answers_of_both_arms() -> None:
    """1 to 100 ms in the base and 101 to 200 in the head: the slowest two are the head's."""
    base, head = with_latencies(*range(1, 101)), with_latencies(*range(101, 201))
    result = with_common_limit(compare((base, head)))
    assert result.slow_ms == pytest.approx(198.01)
    assert shares(result) == [(0.0, 0.02)]


def test_all_pairs_have_one_limit() -> None:
    usual, late = with_latencies(*[10.0] * 100), with_latencies(*[10.0] * 96, *[300.0] * 4)
    result = with_common_limit(compare((usual, late), (usual, late)))
    assert result.slow_ms == pytest.approx(300.0)
    result = with_common_limit(compare((usual, usual), (usual, late), (usual, usual), (usual, usual)))
    assert result.slow_ms == 10.0
    assert shares(result) == [(0.0, 0.0), (0.0, 0.04), (0.0, 0.0), (0.0, 0.0)]


def test_turns_alone_set_the_limit_where_there_are_any() -> None:
    """In bursts a wait looks shorter than it is."""
    in_turns = replace(with_latencies(*[1.0] * 1000), windows_ms=((10.0,) * 50, (20.0,) * 50))
    later = with_latencies(*[1.0] * 1000)
    result = with_common_limit(compare((in_turns, in_turns), (later, later)))
    assert result.slow_ms == 20.0
    assert shares(result) == [(0.0, 0.0), (None, None)]


@pytest.mark.parametrize("answers", [0, 49])
def test_too_few_answers_have_no_limit(answers: int) -> None:
    few = with_latencies(*[1.0] * answers)
    assert with_common_limit(compare((few, few))).slow_ms is None
    assert with_common_limit(compare((with_latencies(*[1.0] * 50),) * 2)).slow_ms == 1.0


def test_without_a_comparison_there_is_no_common_limit() -> None:
    alone = replace(compare(), samples=[with_latencies(*[1.0] * 1000)])
    assert with_common_limit(alone).slow_ms is None


def test_a_limit_of_the_users_stays() -> None:
    arm = with_latencies(*range(1, 101))
    assert with_common_limit(with_limit(compare((arm, arm)), 50.0)).slow_ms == 50.0

"""Slow answers: the common limit of both arms, and the share beyond it."""

from dataclasses import replace

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.slow_answers import find_slow_share, with_common_limit
from servegate.records import Cell, Sample, Status, Verdict
from unit_tests.builders.runs.samples import make_sample


def with_latencies(*latencies_ms: float) -> Sample:
    return replace(make_sample(), latencies_ms=latencies_ms)


def compare(*arms: tuple[Sample, Sample]) -> CellResult:
    bases, heads = [base for base, _ in arms], [head for _, head in arms]
    verdict = Verdict(Status.PASS, "")
    return CellResult(Cell("api", "concurrency", 8), "requests", heads, verdict, bases=bases)


def shares(result: CellResult) -> tuple[float | None, float | None]:
    """The shares of the base and of the head."""
    return find_slow_share(result.bases, result.slow_ms), find_slow_share(result.samples, result.slow_ms)


def test_what_is_slow_is_slower_than_99_of_100_answers_of_both_arms() -> None:
    """1 to 100 ms in the base and 101 to 200 in the head: the slowest two are the head's."""
    base, head = with_latencies(*range(1, 101)), with_latencies(*range(101, 201))
    result = with_common_limit(compare((base, head)))
    assert result.slow_ms == pytest.approx(198.01)
    assert shares(result) == (0.0, 0.02)


def test_each_answer_counts_and_not_each_process() -> None:
    """One pair of identical code is slow and answers less often: 1 % of all answers are slow all the same."""
    quick = with_latencies(*[10.0] * 1000)
    slow = with_latencies(*(50.0 + number for number in range(200)))
    result = with_common_limit(compare((quick, quick), (quick, quick), (quick, quick), (slow, slow)))
    assert shares(result) == (0.01, 0.01)


def test_turns_alone_count_where_there_are_any() -> None:
    """In bursts a wait looks shorter than it is."""
    in_turns = replace(with_latencies(*[1.0] * 1000), windows_ms=((10.0,) * 50, (20.0,) * 50))
    later = with_latencies(*[1.0] * 1000)
    result = with_common_limit(compare((in_turns, in_turns), (later, later)))
    assert result.slow_ms == 20.0
    assert find_slow_share(result.samples, 15.0) == 0.5


@pytest.mark.parametrize(("answers", "slow_ms"), [(0, None), (49, None), (50, 1.0)])
def test_too_few_answers_have_no_limit(answers: int, slow_ms: float | None) -> None:
    few = with_latencies(*[1.0] * answers)
    assert with_common_limit(compare((few, few))).slow_ms == slow_ms


def test_without_a_comparison_there_is_no_common_limit() -> None:
    alone = replace(compare(), samples=[with_latencies(*[1.0] * 1000)])
    assert with_common_limit(alone).slow_ms is None


def test_a_limit_of_the_users_stays() -> None:
    arm = with_latencies(*range(1, 101))
    assert with_common_limit(replace(compare((arm, arm)), slow_ms=50.0)).slow_ms == 50.0


def test_without_a_limit_or_an_answer_there_is_no_share() -> None:
    assert find_slow_share([with_latencies(1.0)], None) is None
    assert find_slow_share([with_latencies()], 1.0) is None

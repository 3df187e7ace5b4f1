"""Limits of latency: which answers are slow, how many may be, and which verdicts they leave alone."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from servegate.judging.absolute.latency_limits import LatencyLimits, hold_to_limits
from servegate.judging.cell_result import CellResult
from servegate.records import Cell, Sample, Status, Verdict
from unit_tests.builders.runs.samples import make_sample

CELL = Cell("api", "concurrency", 8)
LIMITS = LatencyLimits({"": 250.0}, {"": 0.01})


def with_slow(slow: int, answers: int = 1000) -> Sample:
    return replace(make_sample(), latencies_ms=(10.0,) * (answers - slow) + (250.1,) * slow)


def make_result(*samples: Sample, status: Status = Status.PASS) -> CellResult:
    return CellResult(CELL, "requests", samples, Verdict(status, "a slowdown of 10 % is excluded"))


def test_more_slow_answers_than_chance_explains_fail_whatever_the_base_does() -> None:
    """17 of 1,000, where 10 are allowed: chance makes 16 or more in 5 % of runs, and 17 or more in 3."""
    held = hold_to_limits(make_result(with_slow(17)), LIMITS)
    assert held.verdict.status is Status.SLOW
    assert held.verdict.reason == ("17 of 1000 answers (1.7 %) took more than 250 ms, 1 % may (perf_slow_percent)")
    assert held.verdict.evidence == ("without this limit PASS: a slowdown of 10 % is excluded",)
    assert hold_to_limits(make_result(with_slow(15)), LIMITS).verdict.status is Status.PASS


def test_the_answers_of_all_processes_count_together() -> None:
    """Twelve of each thousand are no proof, and 60 of five thousand would be no more; 75 of them are."""
    assert hold_to_limits(make_result(*[with_slow(12)] * 2), LIMITS).verdict.status is Status.PASS
    assert hold_to_limits(make_result(*[with_slow(15)] * 5), LIMITS).verdict.status is Status.SLOW


def test_where_all_are_slow_the_share_is_readable() -> None:
    held = hold_to_limits(make_result(with_slow(1000)), LIMITS)
    assert held.verdict.reason.startswith("1000 of 1000 answers (100 %)")


def test_where_none_may_be_slow_a_single_answer_fails() -> None:
    limits = LatencyLimits({"": 250.0}, {"": 0.0})
    assert hold_to_limits(make_result(with_slow(1)), limits).verdict.status is Status.SLOW
    assert hold_to_limits(make_result(with_slow(0)), limits).verdict.status is Status.PASS


@pytest.mark.parametrize(
    ("slow_ms", "allowed", "status"),
    [
        ({}, {"": 0.01}, Status.PASS),
        ({"": 250.0}, {}, Status.PASS),
        ({"model": 250.0}, {"": 0.01}, Status.PASS),
        ({"": 9000.0, "api": 250.0}, {"": 0.01}, Status.SLOW),
        ({"": 9000.0, "api": 9000.0, "api[8]": 250.0}, {"": 0.01}, Status.SLOW),
        ({"api": 250.0, "api[8]": 300.0}, {"": 0.01}, Status.PASS),
        ({"": 250.0}, {"": 0.5, "api": 0.01}, Status.SLOW),
        ({"": 250.0}, {"": 0.01, "api[8]": 0.5}, Status.PASS),
    ],
)
def test_a_cells_own_limit_goes_before_its_groups(
    slow_ms: Mapping[str, float], allowed: Mapping[str, float], status: Status
) -> None:
    held = hold_to_limits(make_result(with_slow(300)), LatencyLimits(slow_ms, allowed))
    assert held.verdict.status is status


@pytest.mark.parametrize("status", [Status.REGRESSED, Status.INVALID, Status.BASE_FAILED])
def test_a_graver_verdict_stays(status: Status) -> None:
    assert hold_to_limits(make_result(with_slow(300), status=status), LIMITS).verdict.status is status


@pytest.mark.parametrize("status", [Status.INFORMS, Status.NOT_JUDGED, Status.INCONCLUSIVE, Status.IMPROVED])
def test_any_other_verdict_gives_way(status: Status) -> None:
    """The limit holds where nothing is compared, too."""
    assert hold_to_limits(make_result(with_slow(300), status=status), LIMITS).verdict.status is Status.SLOW


def test_a_target_without_answers_has_no_slow_ones() -> None:
    held = hold_to_limits(make_result(make_sample()), LatencyLimits({"": 0.001}, {"": 0.0}))
    assert (held.verdict.status, held.slow_ms) == (Status.PASS, None)


def test_a_limit_alone_judges_nothing() -> None:
    held = hold_to_limits(make_result(with_slow(30)), LatencyLimits({"api": 250.0}))
    assert (held.verdict.status, held.slow_ms) == (Status.PASS, 250.0)


def test_answers_in_turns_count_where_there_are_any() -> None:
    """A wait looks shorter in bursts than it is."""
    in_turns = replace(with_slow(0), windows_ms=((10.0, 300.0), (10.0, 10.0)))
    assert hold_to_limits(make_result(in_turns), LIMITS).verdict.reason.startswith("1 of 4 answers (25 %)")


def test_later_pairs_without_turns_do_not_water_the_share_down() -> None:
    in_turns = replace(with_slow(0), windows_ms=((10.0,) * 95 + (300.0,) * 5,))
    held = hold_to_limits(make_result(in_turns, *[with_slow(0)] * 18), LIMITS)
    assert held.verdict.reason.startswith("5 of 100 answers")


def test_a_limit_holds_for_the_base_where_the_head_has_no_right_answer() -> None:
    result = replace(make_result(make_sample(failures=["a dog"]), status=Status.INVALID), bases=[with_slow(300)])
    assert hold_to_limits(result, LIMITS).slow_ms == 250.0

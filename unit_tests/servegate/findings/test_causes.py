"""Stages are compared over all cells of a pair: the pair is the replicate."""

import math
from dataclasses import replace

import pytest

from servegate.findings.causes import describe_causes, find_causes, pool_stages
from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import paired_mean
from servegate.records import StageTime
from unit_tests.builders.runs.findings import make_cell, make_pairs


def cell(*predict: float, value: int = 1, group: str = "api", stage: str = "predict") -> CellResult:
    """A cell with a pair for each factor by which the head's stage is longer."""
    return make_cell(group, value, pairs=make_pairs([{stage: factor} for factor in predict]))


def test_a_stages_change_is_the_mean_over_the_cells_of_each_pair() -> None:
    """Log 1.1 and log 1.2 in the first pair, and so on: three replicates, not six."""
    changes = {change.name: change for change in pool_stages([cell(1.1, 1.1, 1.3), cell(1.2, 1.3, 1.3, value=8)])}
    replicates = [math.log(1.1 * 1.2) / 2, math.log(1.1 * 1.3) / 2, math.log(1.3)]
    expected, got = paired_mean(replicates).as_change(), changes["predict"].cpu
    assert got is not None
    assert (got.estimate, got.low, got.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert changes["queue"].cpu is None


def test_pairs_of_two_groups_are_different_processes() -> None:
    changes = {change.name: change for change in pool_stages([cell(1.1, 1.1), cell(1.2, 1.2, group="photo")])}
    expected, got = paired_mean([0.0953102, 0.0953102, 0.1823216, 0.1823216]).as_change(), changes["predict"].cpu
    assert got is not None
    assert (got.estimate, got.low) == pytest.approx((expected.estimate, expected.low), abs=1e-6)


def test_a_cell_that_was_decided_earlier_is_in_its_own_pairs() -> None:
    assert pool_stages([cell(1.1, 1.1), cell(1.1, 1.1, 1.1, value=8)])
    assert pool_stages([make_cell()]) == ()


def test_a_stage_that_takes_no_measurable_time_in_one_cell_is_no_cause() -> None:
    too_short = [
        replace(pair, base=replace(pair.base, stages={**pair.base.stages, "predict": StageTime(5.0, 0.0)}))
        for pair in make_pairs([{"predict": 1.1}] * 3)
    ]
    changes = {
        change.name: change for change in pool_stages([cell(1.1, 1.1, 1.1), make_cell("api", 8, pairs=too_short)])
    }
    assert changes["predict"].cpu is None


def test_the_stage_that_moved_by_the_most_milliseconds_is_the_cause_and_its_echo_is_not() -> None:
    """Predict 4 ms by 10 % is 0.4 ms; decode 1.9 ms by 5 % is 0.1 ms, by 20 % it is 0.38 ms."""

    def causes(decode: float) -> list[str]:
        result = make_cell(pairs=make_pairs([{"predict": 1.1, "decode": decode}] * 3))
        return [cause.stage for cause in find_causes([result], slower=True)]

    assert causes(1.05) == ["predict"]
    assert causes(1.20) == ["predict", "decode"]


@pytest.mark.parametrize(("factors", "named"), [((1.021,) * 3, True), ((1.019,) * 3, False), ((1.0, 1.3, 1.0), False)])
def test_a_small_or_an_uncertain_change_is_no_cause(factors: tuple[float, ...], *, named: bool) -> None:
    assert bool(find_causes([cell(*factors)], slower=True)) is named


def test_only_what_takes_longer_explains_a_loss() -> None:
    slower = cell(1.1, 1.1, 1.1)
    assert find_causes([slower], slower=True)
    assert find_causes([slower], slower=False) == []


def test_causes_are_told_with_their_intervals() -> None:
    told = describe_causes(find_causes([cell(3.0, 3.0, 3.0, stage="decode")], slower=True))
    assert told == "`decode` takes 200 % more CPU time [200, 200]"


def test_where_no_cpu_time_moved_the_stage_that_waits_longer_is_the_cause() -> None:
    """Decode takes 3 ms where it took 2, with the same 1.9 ms of CPU time; predict 5.2 where it took 5."""
    slower = make_pairs([{}] * 3)
    stages = {"decode": StageTime(3.0, 1.9), "queue": StageTime(1.0, None), "predict": StageTime(5.2, 4.0)}
    pairs = [
        replace(
            pair,
            head=replace(
                pair.head, stages=stages, latency=replace(pair.head.latency, mean_ms=pair.head.latency.mean_ms + 1.2)
            ),
        )
        for pair in slower
    ]
    causes = find_causes([make_cell(pairs=pairs)], slower=True)
    assert describe_causes(causes) == "`decode` takes 50 % more time [50.0, 50.0]"

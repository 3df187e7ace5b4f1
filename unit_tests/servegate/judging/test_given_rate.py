"""Cells whose load sets the rate: they inform, unless what was measured can't be compared."""

from dataclasses import replace

import pytest

from servegate.judging.given_rate import GivenRateJudge
from servegate.records import Cell, Sample, Status
from unit_tests.builders.runs.samples import make_sample

CELL, OTHER = Cell("latency", "load", 70), Cell("latency", "load", 90)
FIRST_PAIRS, CEILING_CORES = 4, 0.9
RIGHT = make_sample(70.0)
WRONG = replace(RIGHT, rounds_s=(), failures=("a dog",))
BUSY_CLIENT = replace(RIGHT, client_cores=(0.95,))


def make_judge() -> GivenRateJudge:
    return GivenRateJudge({CELL: True}, FIRST_PAIRS, CEILING_CORES)


def test_with_enough_pairs_it_informs_and_tells_the_rate() -> None:
    judge = make_judge()
    for pair in range(FIRST_PAIRS):
        assert judge.is_first_due, pair
        judge.add({CELL: (RIGHT, RIGHT), OTHER: (WRONG, WRONG)}, None)
    assert not judge.is_first_due
    result = judge.results()[CELL]
    assert (result.verdict.status, len(result.bases), len(result.heads)) == (Status.INFORMS, FIRST_PAIRS, FIRST_PAIRS)
    assert result.verdict.now_per_s == pytest.approx(70.0)
    assert list(judge.results()) == [CELL]


@pytest.mark.parametrize(
    ("pair", "fallback", "status", "reason"),
    [
        ((RIGHT, WRONG), None, Status.INVALID, "a dog"),
        ((WRONG, RIGHT), None, Status.BASE_FAILED, "the base can't serve this cell: 1 of"),
        ((RIGHT, BUSY_CLIENT), None, Status.INVALID, "the client was the bottleneck"),
        ((BUSY_CLIENT, RIGHT), None, Status.INVALID, "in the base, a client process"),
        ((RIGHT, RIGHT), "no GPU: on the CPU", Status.INVALID, "no GPU: on the CPU"),
    ],
)
def test_what_cannot_be_compared_is_not_measured_again(
    pair: tuple[Sample, Sample], fallback: str | None, status: Status, reason: str
) -> None:
    judge = make_judge()
    judge.add({CELL: (RIGHT, RIGHT)}, None)
    assert judge.is_open([CELL])
    judge.add({CELL: pair}, fallback)
    judge.add({CELL: (RIGHT, RIGHT)}, None)
    verdict = judge.results()[CELL].verdict
    assert verdict.status is status
    assert reason in verdict.reason
    assert not judge.is_open([OTHER, CELL])
    assert not judge.is_first_due


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [(0, "the run's time budget had ended before"), (3, "the time budget ended after 3 of the 4 pairs")],
)
def test_too_few_pairs_are_inconclusive(pairs: int, reason: str) -> None:
    judge = make_judge()
    for _ in range(pairs):
        judge.add({CELL: (RIGHT, RIGHT)}, None)
    verdict = judge.results()[CELL].verdict
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason.startswith(reason)


def test_a_group_that_is_dropped_is_not_due() -> None:
    judge = make_judge()
    judge.drop("api")
    assert judge.is_first_due
    judge.drop("latency")
    assert not judge.is_first_due


def test_a_cell_that_cannot_be_judged_closes_its_group() -> None:
    """The figure is of both: the other one's verdict names the cause."""
    judge = GivenRateJudge({CELL: True, OTHER: True}, FIRST_PAIRS, CEILING_CORES)
    judge.add({CELL: (RIGHT, RIGHT), OTHER: (RIGHT, WRONG)}, None)
    assert not judge.is_first_due
    other, cell = (judge.results()[name].verdict for name in (OTHER, CELL))
    assert (other.status, cell.status) == (Status.INVALID, Status.INVALID)
    assert cell.reason.startswith("latency[load=90] INVALID: ")
    assert other.reason.startswith("1 of")


def test_a_cell_whose_lateness_is_switched_off_is_not_waited_for() -> None:
    judge = GivenRateJudge({CELL: True, OTHER: False}, FIRST_PAIRS, CEILING_CORES)
    for _ in range(FIRST_PAIRS):
        judge.add({CELL: (RIGHT, RIGHT)}, None)
    assert not judge.is_first_due
    verdict = judge.results()[OTHER].verdict
    assert (verdict.status, "switched off" in verdict.reason) == (Status.INFORMS, True)

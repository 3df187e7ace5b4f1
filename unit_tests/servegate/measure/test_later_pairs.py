"""Pairs in which a cell's throughput is decided and a figure is not: what they show of the cell still counts."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from servegate.judging.arms import ArmReport, PairReport
from servegate.judging.figures.kinds import START, TAIL
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.policy import Policy
from servegate.measure.fresh_pairs import FreshPairs, MeasuredPair
from servegate.measure.pair_plan import PairPlan
from servegate.measure.side_by_side import Compared
from servegate.measure.targets import Launchable
from servegate.records import ProcessRecord, Sample, Status
from unit_tests.builders.fake_arms import CELL, FakeArms, side_by_side
from unit_tests.builders.runs.samples import make_sample

USUAL = replace(make_sample(), windows_ms=((10.0,) * 20,) * 4)
LATE = replace(make_sample(), windows_ms=((*[10.0] * 19, 100.0),) * 4)
WRONG = make_sample(failures=["a dog"])
WRONG_LATER = pytest.mark.parametrize("later", [(USUAL, WRONG), (WRONG, LATE)], ids=["of the head", "of the base"])


def compare(
    monkeypatch: pytest.MonkeyPatch, arms: FakeArms, change: Callable[[MeasuredPair, bool], MeasuredPair]
) -> tuple[Compared, list[PairPlan]]:
    """Throughput is decided by four pairs. Returns the outcome, and the plans of the pairs after those.

    Parameters
    ----------
    change:
        Changes each measured pair; its second argument says whether the pair is one of the first four.
    """
    original, plans = FreshPairs.measure, []

    def measure(self: FreshPairs, target: Launchable, plan: PairPlan, here: str) -> MeasuredPair:
        plans.append(plan)
        return change(original(self, target, plan, here), len(plans) <= 4)

    monkeypatch.setattr(FreshPairs, "measure", measure)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(4,)), FigurePolicy(), budget_s=1e9)
    return compared, plans[4:]


def late_starting() -> FakeArms:
    """Arms whose head starts half as late again as the base."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, figures=[START])
    arms.records = {"base": ProcessRecord(6.0, None), "head": ProcessRecord(9.0, None)}
    return arms


def test_a_suspected_figure_without_values_does_not_keep_a_run_going_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is beyond its margin; from the fifth pair on no process tells how long it took."""
    silent = ProcessRecord(None, None)
    compared, later = compare(
        monkeypatch,
        late_starting(),
        lambda pair, is_early: pair if is_early else replace(pair, processes=(silent, silent)),
    )
    assert len(later) == 2
    assert compared.figures[0].verdict.status is Status.INCONCLUSIVE


def test_one_value_that_is_missing_ends_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first answer may fail once."""
    missing = iter([(ProcessRecord(6.0, None), ProcessRecord(None, None))])
    compared, _ = compare(
        monkeypatch,
        late_starting(),
        lambda pair, is_early: pair if is_early else replace(pair, processes=next(missing, pair.processes)),
    )
    assert compared.figures[0].verdict.status is Status.REGRESSED


@WRONG_LATER
def test_a_wrong_answer_in_a_turn_counts_though_throughput_is_decided(
    monkeypatch: pytest.MonkeyPatch, later: tuple[Sample, Sample]
) -> None:
    """The cell takes turns alone, since its tail is beyond its margin."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, figures=[TAIL])
    compared, plans = compare(
        monkeypatch,
        arms,
        lambda pair, is_early: replace(pair, samples={CELL: (USUAL, LATE) if is_early else later}),
    )
    status = Status.INVALID if later[1] is WRONG else Status.BASE_FAILED
    assert compared.cells[CELL].verdict.status is status
    assert "a dog" in compared.cells[CELL].verdict.reason
    assert plans == [PairPlan([], [CELL])] * 2, "others would not say more"


@WRONG_LATER
def test_a_wrong_answer_in_a_later_pair_hides_no_slowdown(
    monkeypatch: pytest.MonkeyPatch, later: tuple[Sample, Sample]
) -> None:
    """A base that answers wrongly once would otherwise make the slower head pass where nobody named a base."""
    arms = FakeArms({"base": 100.0, "head": 80.0}, figures=[TAIL])
    compared, plans = compare(
        monkeypatch,
        arms,
        lambda pair, is_early: replace(pair, samples={CELL: (USUAL, LATE) if is_early else later}),
    )
    verdict = compared.cells[CELL].verdict
    assert (verdict.status, compared.groups[0].verdict.status) == (Status.REGRESSED, Status.REGRESSED)
    assert plans, "another pair was measured"
    assert verdict.evidence[-1].startswith("later    ")
    assert "a dog" in verdict.evidence[-1]


def test_a_process_that_only_starts_and_runs_otherwise_than_intended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = PairReport(ArmReport(), ArmReport({"model fallback": "no GPU: on the CPU"}))
    compared, later = compare(
        monkeypatch, late_starting(), lambda pair, is_early: pair if is_early else replace(pair, report=on_cpu)
    )
    assert compared.cells[CELL].verdict.status is Status.INVALID
    assert "no GPU: on the CPU" in compared.cells[CELL].verdict.reason
    assert len(later) == 1

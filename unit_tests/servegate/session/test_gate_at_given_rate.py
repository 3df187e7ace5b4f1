"""A group whose load sets the rate: its cells inform, and side by side the lateness of its requests is judged."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.figures.kinds import LATENESS, GroupFigure
from servegate.judging.slow_answers import find_slow_share
from servegate.measure.targets import Conditions, Instrument, LaunchedProcess
from servegate.records import Cell, Checkout, Sample, Status, Verdict
from servegate.session.gate import Gate
from servegate.session.selection import Selection
from unit_tests.builders.fake_arms import CELL, FakeArms
from unit_tests.builders.gate_settings import SETTINGS, judging
from unit_tests.builders.runs.samples import make_sample
from unit_tests.builders.targets import FakeTarget, no_session_server

FIGURE = GroupFigure("model", LATENESS)


class TargetAtGivenRate(FakeTarget):
    """Its processes are those of `FakeArms`; alone, it counts how often it was measured."""

    rate_is_given = True
    figures = (LATENESS,)

    def __init__(self, slowest_ms: Mapping[str, float], wrong_arm: str | None = None) -> None:
        super().__init__("model")
        self.arms = FakeArms(
            {"base": 100.0, "head": 100.0}, rate_per_s=70.0, slowest_ms=slowest_ms, wrong_arm=wrong_arm
        )
        self.measured_alone = 0

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        return self.arms.launch(checkout)

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[Instrument]:
        self.measured_alone += 1
        yield _Alone()


class _Alone:
    details: Mapping[str, str] = {}

    def measure(self, cell: Cell, seconds: float) -> Sample:
        return make_sample(70.0)


def make_gate(target: TargetAtGivenRate, root: Path, *, figures: tuple[GroupFigure, ...]) -> Gate:
    return Gate(
        Selection(judging(replace(SETTINGS, root=root), versus="HEAD"), [target], [CELL], figures),
        None,
        progress=lambda _: None,
        reference="HEAD",
    )


@pytest.mark.parametrize(("head_ms", "status"), [(80.0, Status.REGRESSED), (41.0, Status.PASS)])
def test_its_lateness_is_judged_and_its_cell_informs(project: Path, head_ms: float, status: Status) -> None:
    target = TargetAtGivenRate({"base": 40.0, "head": head_ms})
    gate = make_gate(target, project, figures=(FIGURE,))
    assert gate.measure(target, CELL, no_session_server).verdict.status is Status.INFORMS
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is status
    assert gate.results.cells[CELL].verdict.now_per_s is not None
    if status is Status.REGRESSED:
        assert "answers requests that come at random 100 % later" in gate.sentence
    else:
        assert gate.sentence == "No change found in `model lateness`."
    assert (target.measured_alone, gate.results.groups, gate.selection.judged_throughput) == (0, [], [])


def test_too_many_slow_answers_fail_its_cell_and_its_figure(project: Path) -> None:
    """Its lateness may be the only test of it that was selected."""
    target = TargetAtGivenRate({"base": 40.0, "head": 41.0})
    gate = make_gate(target, project, figures=(FIGURE,))
    limits = LatencyLimits({"": 40.5}, {"": 0.01})
    gate.selection.settings = judging(gate.settings, latency_limits=limits)
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is Status.SLOW
    result = gate.measure(target, CELL, no_session_server)
    assert result.verdict.status is Status.SLOW
    assert find_slow_share(result.bases, result.slow_ms) == 0.0


def test_wrong_answers_fail_its_cell_and_its_figure(project: Path) -> None:
    target = TargetAtGivenRate({"base": 40.0, "head": 40.0}, wrong_arm="head")
    gate = make_gate(target, project, figures=(FIGURE,))
    assert gate.measure(target, CELL, no_session_server).verdict.status is Status.INVALID
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is Status.INVALID


def test_a_cell_that_fails_later_fails_its_figure_which_was_judged_before(project: Path) -> None:
    target = TargetAtGivenRate({"base": 40.0, "head": 41.0})
    gate = make_gate(target, project, figures=(FIGURE,))
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is Status.PASS
    gate.results.cells[CELL] = replace(gate.results.cells[CELL], verdict=Verdict(Status.INVALID, "a dog"))
    verdict = gate.judge(target, FIGURE, no_session_server).verdict
    assert (verdict.status, verdict.reason) == (Status.INVALID, "model[batch=8] INVALID: a dog")


def test_without_a_test_of_its_lateness_it_is_measured_alone_and_informs(project: Path) -> None:
    """As where the figure is switched off, or the stored baseline judges."""
    target = TargetAtGivenRate({})
    gate = make_gate(target, project, figures=())
    assert gate.measure(target, CELL, no_session_server).verdict.status is Status.INFORMS
    assert (target.measured_alone, target.arms.log) == (1, [])


def test_a_budget_that_has_ended_leaves_it_undecided(project: Path) -> None:
    target = TargetAtGivenRate({})
    gate = make_gate(target, project, figures=(FIGURE,))
    gate.selection.settings = replace(gate.settings, judging=replace(gate.settings.judging, budget_s=0.0))
    assert gate.measure(target, CELL, no_session_server).verdict.status is Status.INCONCLUSIVE
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is Status.NOT_JUDGED
    strict = replace(gate.settings, judging=replace(gate.settings.judging, is_strict=True))
    gate.selection.settings = strict
    assert gate.judge(target, FIGURE, no_session_server).verdict.status is Status.INCONCLUSIVE
    assert target.arms.log == []

"""Two checkouts side by side: which pairs are measured, and when the comparison ends."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from servegate.errors import ProcessError, ReferenceCheckoutError, ServegateError
from servegate.judging.arms import ArmReport, PairReport
from servegate.judging.figures.judge import FigureJudge
from servegate.judging.figures.kinds import (
    COST,
    FIRST_PIECE,
    GROWTH,
    LATENESS,
    MEMORY,
    OF_STREAMS,
    PIECE_GAP,
    START,
    TAIL,
    FigureKind,
)
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.load.expected import Lines
from servegate.load.workload import WeightedSet, Workload
from servegate.measure.cell_load import CellLoad
from servegate.measure.fresh_pairs import FreshPairs, MeasuredPair
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget, OpenLoopTarget, SharedServer
from servegate.measure.pair_plan import PairPlan
from servegate.measure.side_by_side import SideBySide, plan_group, share_processes
from servegate.measure.targets import Comparable, Launchable
from servegate.records import Cell, ProcessRecord, StageTime, Status
from unit_tests.builders.fake_arms import CELL, FakeArms, side_by_side
from unit_tests.builders.runs.samples import make_sample


@pytest.mark.parametrize(("head_per_s", "status"), [(80.0, Status.REGRESSED), (100.0, Status.PASS)])
def test_the_stage_that_moved_stands_in_the_evidence(head_per_s: float, status: Status) -> None:
    share = 100.0 / head_per_s
    stages = {
        arm: {"decode": StageTime(1.0, 1.0 * more), "predict": StageTime(5.0, 5.0)}
        for arm, more in (("base", 1.0), ("head", share))
    }
    arms = FakeArms({"base": 100.0, "head": head_per_s}, stages=stages)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), FigurePolicy(), budget_s=60.0)
    verdict = compared.cells[CELL].verdict
    assert verdict.status is status
    line = next(line for line in verdict.evidence if line.startswith("stages "))
    assert ("decode +25.0% [" in line) is (status is Status.REGRESSED)
    assert ("no stage stands out" in line) is (status is Status.PASS)


QUIET = Cell("api", "concurrency", 1)
# Of two groups in turn, and what fresh pairs of them say.
TARGETS = [(FakeArms({}), [CELL]), (FakeArms({}), [QUIET])]


def measure_with(
    monkeypatch: pytest.MonkeyPatch,
    log_ratios: Mapping[Cell, Iterator[float]],
    error: ServegateError | None = None,
) -> list[set[Cell]]:
    """Pairs that say what the log ratios say in turn; a cell without any fails. Returns what each pair measured."""
    measured: list[set[Cell]] = []

    def fake_pair(self: FreshPairs, target: Launchable, plan: PairPlan, here: str) -> MeasuredPair:
        cells = plan.cells
        measured.append(set(cells))
        if error is not None and not set(cells) <= log_ratios.keys():
            raise error
        sample = make_sample(100.0)
        ratios = {cell: next(log_ratios[cell]) for cell in cells}
        figures = {
            cell: PairFigure(ratios[cell], (ratios[cell] - 1e-3, ratios[cell] + 1e-3), sample, sample, 0.0)
            for cell in plan.bursts
        }
        samples = dict.fromkeys(cells, (sample, sample))
        records = ProcessRecord(None, None), ProcessRecord(None, None)
        return MeasuredPair(figures, samples, records, PairReport(ArmReport(), ArmReport()))

    monkeypatch.setattr(FreshPairs, "measure", fake_pair)
    return measured


def test_the_groups_take_turns_within_each_pair_until_they_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back is in the order of the cells, though the second is decided before the first."""
    noisy, quiet = itertools.cycle([0.2, -0.2]), itertools.repeat(0.0)
    measured = measure_with(monkeypatch, {CELL: noisy, QUIET: quiet})
    # A group that strays by 20 % casts doubt on the other, which needs some pairs more than it would alone.
    policy = Policy(groups=2, cells=2, margin=0.06, looks=(4, 8, 12))
    compared = side_by_side().compare(TARGETS, policy, FigurePolicy(), budget_s=60.0)
    assert measured[:2] == [{CELL}, {QUIET}]
    assert measured[-1] == {CELL}
    assert measured.count({CELL}) == 12
    assert measured.count({QUIET}) < 12
    assert list(compared.cells) == [CELL, QUIET]
    assert [group.name for group in compared.groups] == ["model", "api"]
    statuses = [comparison.verdict.status for comparison in compared.cells.values()]
    assert statuses == [Status.INCONCLUSIVE, Status.PASS]


@pytest.mark.parametrize("error", [ProcessError("it died"), ReferenceCheckoutError("it never started")])
def test_a_group_that_can_not_be_measured_leaves_the_other_to_be_judged(
    monkeypatch: pytest.MonkeyPatch, error: ServegateError
) -> None:
    measured = measure_with(monkeypatch, {QUIET: itertools.repeat(0.0)}, error)
    compared = side_by_side().compare(TARGETS, Policy(groups=2, cells=2, looks=(4, 8)), FigurePolicy(), budget_s=60.0)
    assert compared.errors == {"model": error}
    assert measured.count({CELL}) == 1
    assert list(compared.cells) == [QUIET]
    assert compared.cells[QUIET].verdict.status is Status.PASS
    assert [group.name for group in compared.groups] == ["api"]


@pytest.mark.parametrize(
    ("open_cells", "suspected", "takes_turns", "is_early", "bursts", "turns"),
    [
        ([CELL], [], True, True, [CELL], [CELL]),
        ([CELL], [], True, False, [CELL], []),
        ([CELL], [], False, True, [CELL], []),
        ([], [START], True, False, [], []),
        ([], [TAIL], True, False, [], [CELL, QUIET]),
        ([], [FIRST_PIECE], True, False, [], [CELL, QUIET]),
        ([], [PIECE_GAP], True, False, [], [CELL, QUIET]),
        ([], [GROWTH], True, False, [CELL, QUIET], []),
        ([], [GROWTH], False, False, [CELL, QUIET], []),
        ([], [COST], True, False, [CELL, QUIET], []),
        ([CELL], [COST, MEMORY], True, False, [CELL, QUIET], []),
        ([CELL], [TAIL], True, False, [CELL], [CELL, QUIET]),
    ],
)
def test_a_pair_loads_what_is_open_and_what_a_figure_needs(
    open_cells: list[Cell],
    suspected: list[FigureKind],
    takes_turns: bool,
    is_early: bool,
    bursts: list[Cell],
    turns: list[Cell],
) -> None:
    in_turns = [CELL, QUIET] if takes_turns else []
    plan = plan_group([CELL, QUIET], open_cells, in_turns, suspected, is_early=is_early)
    assert plan is not None
    assert (list(plan.bursts), list(plan.turns)) == (bursts, turns)


@pytest.mark.parametrize("is_early", [True, False])
def test_a_cell_that_is_not_judged_for_late_requests_takes_no_turns(*, is_early: bool) -> None:
    plan = plan_group([CELL, QUIET], [CELL, QUIET], [QUIET], [TAIL], is_early=is_early)
    assert plan == PairPlan([CELL, QUIET], [QUIET])


def test_nothing_open_needs_no_pair() -> None:
    assert plan_group([CELL], [], [CELL], [], is_early=True) is None


def test_only_a_target_with_streamed_answers_shows_when_their_pieces_come() -> None:
    service, right = HttpService(["serve"]), Workload("/predict", b"", expected=None)
    both = WeightedSet([(1, right), (1, replace(right, expected=Lines([1])))])
    assert set(OF_STREAMS).isdisjoint(HttpTarget("api", service, right).figures)
    assert set(OF_STREAMS).issubset(HttpTarget("api", service, {"all": both}).figures)
    # A figure is of all cells, and one of these has no streamed answer.
    assert set(OF_STREAMS).isdisjoint(HttpTarget("api", service, {"all": both, "right": right}).figures)


def test_targets_of_one_service_share_its_processes() -> None:
    service, other = HttpService(["serve"]), HttpService(["serve", "again"])
    right = Workload("/predict", b"", expected=None)
    api, photo = HttpTarget("api", service, right), HttpTarget("photo", service, {"small": right}, concurrency=4)
    model = HttpTarget("model", other, right)
    of_api, of_model, kinds = [Cell("api", "concurrency", 8)], [CELL], [Cell("photo", "kind", "small")]
    latency = OpenLoopTarget("latency", service, right, saturating_concurrency=32)
    at_random = [Cell("latency", "load", 70)]
    shared = share_processes([(api, of_api), (model, of_model), (photo, kinds), (latency, at_random)])
    assert [list(groups) for _, groups in shared] == [["api", "photo", "latency"], ["model"]]
    together = shared[0][0]
    assert isinstance(together, SharedServer)
    assert together.load_of(of_api[0]) == CellLoad(right, 8)
    assert together.load_of(kinds[0]) == CellLoad(right, 4)
    assert together.load_of(at_random[0]) == CellLoad(right, 32, percent_of_capacity=70.0)


def test_a_group_at_a_given_rate_is_measured_for_its_figures_alone() -> None:
    """Four pairs are the first that its figure is judged by; nothing else keeps the run going."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, figures=[LATENESS], rate_is_given=True, rate_per_s=5.0)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), FigurePolicy(), budget_s=60.0)
    assert (compared.cells, compared.groups, compared.errors) == ({}, (), {})
    assert compared.at_given_rate[CELL].verdict.status is Status.INFORMS
    assert len(compared.at_given_rate[CELL].heads) == len(compared.reports) == FigurePolicy().first_pairs
    assert arms.bursts == ""
    assert [str(found.figure) for found in compared.figures] == ["model lateness"]


def test_late_answers_of_a_slower_service_are_left_to_its_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same rate a slower service is later: one cause is one finding."""
    service, right = HttpService(["serve"]), Workload("/predict", b"", expected=None)
    at_random = Cell("latency", "load", 70)
    targets: list[tuple[Comparable, list[Cell]]] = [
        (HttpTarget("api", service, right), [QUIET]),
        (OpenLoopTarget("latency", service, right), [at_random]),
    ]
    measure_with(monkeypatch, {QUIET: itertools.repeat(-0.5), at_random: itertools.repeat(0.0)})
    left: list[tuple[str, FigureKind]] = []
    monkeypatch.setattr(FigureJudge, "leave_to_throughput", lambda _, *figure: left.append(figure))
    all_left = [("api", COST), ("api", FIRST_PIECE), ("api", PIECE_GAP), ("api", LATENESS), ("latency", LATENESS)]
    for allowed, expected in (((), all_left), (("api",), [])):
        left.clear()
        policy = FigurePolicy(allowed_groups=frozenset(allowed))
        compared = side_by_side().compare(targets, Policy(looks=(4, 8)), policy, budget_s=60.0)
        assert compared.cells[QUIET].verdict.status is Status.REGRESSED
        assert left == expected


def test_a_group_at_a_given_rate_that_fails_is_not_measured_again() -> None:
    arms = FakeArms({}, failing_arm="head", figures=[LATENESS], rate_is_given=True)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), FigurePolicy(), budget_s=60.0)
    assert list(compared.errors) == ["model"]
    assert arms.log.count(("head", "start")) == 1


def test_without_time_left_nothing_starts_and_nothing_is_accused() -> None:
    arms = FakeArms({"base": 100.0, "head": 50.0})
    compared = side_by_side().compare([(arms, [CELL])], Policy(), FigurePolicy(), budget_s=0.0)
    assert compared.cells[CELL].verdict.status is Status.INCONCLUSIVE
    assert "the run's time budget had ended" in compared.cells[CELL].verdict.reason
    assert (arms.log, compared.is_out_of_time) == ([], True)


def test_a_budget_that_ends_before_the_first_look_judges_nothing() -> None:
    arms = FakeArms({"base": 100.0, "head": 50.0})
    clock = itertools.count()
    compared = SideBySide(side_by_side().pairs, clock_s=lambda: next(clock)).compare(
        [(arms, [CELL])], Policy(), FigurePolicy(), budget_s=2.0
    )
    said = "the time budget ended after 1 of the 4 pairs that a first look needs"
    assert compared.cells[CELL].verdict.reason == said
    assert [name for name, what in arms.log if what == "start"].count("base") == 1


@pytest.mark.parametrize("arm", ["base", "head"])
def test_an_arm_that_runs_otherwise_than_it_intended_is_invalid_not_slow(arm: str) -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0, arm: 50.0}, details={arm: {"model fallback": "no GPU: on the CPU"}})
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), FigurePolicy(), budget_s=60.0).cells[CELL]
    assert (compared.verdict.status, len(compared.pairs)) == (Status.INVALID, 1)
    assert compared.verdict.reason == f"the {arm} runs otherwise than intended: no GPU: on the CPU"


def test_each_pairs_details_are_kept_by_arm() -> None:
    details = {"base": {"engine": "eager"}, "head": {"engine": "compiled"}}
    arms = FakeArms({"base": 100.0, "head": 100.0}, details=details)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(2,)), FigurePolicy(), budget_s=60.0)
    assert [{"base": pair.base.details, "head": pair.head.details} for pair in compared.reports] == [details] * 2


def test_a_group_that_shares_processes_keeps_its_verdict_when_they_fail_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`api` is decided at the first look; then what `photo` still needs can't be measured."""
    service, right = HttpService(["serve"]), Workload("/predict", b"", expected=None)
    targets = [
        (HttpTarget("api", service, right), [QUIET]),
        (HttpTarget("photo", service, {"small": right}), [Cell("photo", "kind", "small")]),
    ]
    noisy = itertools.chain([0.2, -0.2, 0.2, -0.2])
    ratios = {QUIET: itertools.repeat(-0.5), targets[1][1][0]: noisy}
    measure_with(monkeypatch, ratios, error=None)
    original = FreshPairs.measure

    def fail_later(self: FreshPairs, target: Launchable, plan: PairPlan, here: str) -> MeasuredPair:
        if QUIET not in plan.cells:
            raise ProcessError("it died")
        return original(self, target, plan, here)

    monkeypatch.setattr(FreshPairs, "measure", fail_later)
    compared = side_by_side().compare(targets, Policy(groups=2, cells=2, looks=(4, 8)), FigurePolicy(), budget_s=60.0)
    assert list(compared.errors) == ["photo"]
    assert compared.cells[QUIET].verdict.status is Status.REGRESSED


@pytest.mark.parametrize(("budget_s", "is_out_of_time"), [(3.0, True), (60.0, False)])
def test_a_comparison_that_time_ended_says_so(*, budget_s: float, is_out_of_time: bool) -> None:
    clock = itertools.count()
    timed = SideBySide(side_by_side().pairs, clock_s=lambda: next(clock))
    arms = FakeArms({"base": 100.0, "head": 100.0})
    compared = timed.compare([(arms, [CELL])], Policy(), FigurePolicy(), budget_s=budget_s)
    assert compared.is_out_of_time is is_out_of_time

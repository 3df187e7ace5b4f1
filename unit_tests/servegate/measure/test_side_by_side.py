"""Two arms side by side: turns, balance, robustness, and what is left behind."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from servegate.errors import MeasurementError, ProcessError, ReferenceCheckoutError, ServegateError
from servegate.judging.arms import ArmReport, PairReport
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.judging.policy import Policy
from servegate.measure.side_by_side import MeasuredPair, Schedule, SideBySide, balanced_blocks
from servegate.measure.targets import Launchable
from servegate.records import BurstRecord, Cell, Checkout, StageTime, Status
from unit_tests.builders.runs.samples import make_sample

BASE = Checkout("base", Path("base"), "python")
HEAD = Checkout("head", Path("head"), "python")
CELL = Cell("model", "batch", 8)


@dataclass
class TwoArms:
    """Two checkouts that complete what their throughput says, and a log of what was done to them."""

    throughput_per_s: Mapping[str, float]
    stalled_burst: int | None = None
    failing_arm: str | None = None
    never_ready_arm: str | None = None
    wrong_arm: str | None = None
    dying_arm: str | None = None
    stages: Mapping[str, Mapping[str, StageTime]] = field(default_factory=dict)
    shortest_burst_s: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    burst_s: set[float] = field(default_factory=set)

    @contextmanager
    def launch(self, checkout: Checkout) -> Iterator["_Launched"]:
        self.log.append((checkout.name, "start"))
        if checkout.name == self.failing_arm:
            raise ProcessError("it does not start")
        try:
            yield _Launched(checkout.name, self)
        finally:
            self.log.append((checkout.name, "stop"))

    @property
    def bursts(self) -> str:
        return "".join(name[0] for name, what in self.log if what == "burst")


@dataclass
class _Launched:
    name: str
    arms: TwoArms

    def wait_until_ready(self) -> "_Paused":
        if self.arms.never_ready_arm in (self.name, "both"):
            raise ProcessError("it is never ready")
        self.arms.log.append((self.name, "ready"))
        return _Paused(self.name, self.arms)


@dataclass
class _Paused:
    name: str
    arms: TwoArms
    is_python: bool = False

    @property
    def details(self) -> Mapping[str, str]:
        return self.arms.details.get(self.name, {})

    def start_load(self, cell: Cell) -> "_Load":
        assert cell == CELL
        return _Load(self.name, self.arms, self.arms.shortest_burst_s.get(self.name, 0.0))


@dataclass
class _Load:
    name: str
    arms: TwoArms
    shortest_burst_s: float
    units: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def burst(self, seconds: float) -> None:
        if self.name == self.arms.dying_arm:
            raise ProcessError("it died")
        stalled = len(self.arms.bursts) == self.arms.stalled_burst
        self.arms.log.append((self.name, "burst"))
        self.arms.burst_s.add(seconds)
        self.units.append(0 if stalled else 1000)
        self.seconds.append(1000 / self.arms.throughput_per_s[self.name])

    def finish(self) -> BurstRecord:
        self.arms.log.append((self.name, "finish"))
        failures = ("wrong",) if self.name == self.arms.wrong_arm else ()
        sample = make_sample(self.arms.throughput_per_s[self.name], failures=failures)
        if self.arms.stages:
            sample = replace(sample, stages=self.arms.stages[self.name], telemetry=None)
        return BurstRecord(tuple(self.units), tuple(self.seconds), sample)


def compare(arms: TwoArms, *, blocks: int = 4, seed: int = 0) -> float:
    """The log ratio of one pair."""
    return side_by_side(blocks, seed).measure_pair(arms, [CELL]).figures[CELL].log_ratio


def side_by_side(blocks: int = 4, seed: int = 0) -> SideBySide:
    return SideBySide(BASE, HEAD, Schedule(0.1, blocks), random.Random(seed))


@pytest.mark.parametrize("head_per_s", [50.0, 90.0, 100.0, 120.0])
def test_the_figure_of_a_pair_is_the_log_ratio_of_throughput(head_per_s: float) -> None:
    arms = TwoArms({"base": 100.0, "head": head_per_s})
    assert compare(arms) == pytest.approx(math.log(head_per_s / 100.0))


def test_the_arms_take_turns_in_balanced_blocks() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0})
    compare(arms, blocks=6)
    blocks = [arms.bursts[start : start + 4] for start in range(0, 24, 4)]
    assert Counter(blocks) == {"bhhb": 3, "hbbh": 3}


def test_a_stall_in_one_burst_counts_and_the_robust_figure_leaves_it_out() -> None:
    """Half of one block of four is missing in one arm."""
    arms = TwoArms({"base": 100.0, "head": 100.0}, stalled_burst=5)
    figure = side_by_side(4).measure_pair(arms, [CELL]).figures[CELL]
    assert abs(figure.log_ratio) == pytest.approx(math.log(2) / 4)
    assert figure.robust_log_ratio == pytest.approx(0.0)


def test_which_arm_starts_first_is_random() -> None:
    first: Counter[str] = Counter()
    for seed in range(40):
        arms = TwoArms({"base": 100.0, "head": 100.0})
        compare(arms, seed=seed)
        first[arms.log[0][0]] += 1
    assert min(first["base"], first["head"]) >= 10


def test_both_arms_start_at_a_time() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0})
    compare(arms)
    assert [what for _, what in arms.log[:4]] == ["start", "start", "ready", "ready"]


def test_a_cells_measurement_is_watched_and_no_start_or_end_of_a_process() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0})

    @contextmanager
    def watch() -> Iterator[None]:
        arms.log.append(("", "watched"))
        yield
        arms.log.append(("", "seen"))

    replace(side_by_side(), watch=watch).measure_pair(arms, [CELL])
    events = [what for _, what in arms.log]
    assert events.index("watched") == 4
    assert events[-3:] == ["seen", "stop", "stop"]


def test_the_base_stands_still_last() -> None:
    """It may be a far slower server, and another that stands still meanwhile would lose its connections."""
    arms = TwoArms({"base": 100.0, "head": 100.0})
    compare(arms)
    assert [name for name, what in arms.log if what == "finish"] == ["head", "base"]


@pytest.mark.parametrize("arm", ["base", "head"])
def test_wrong_answers_are_no_figure(arm: str) -> None:
    assert math.isnan(compare(TwoArms({"base": 100.0, "head": 100.0}, wrong_arm=arm)))


def test_bursts_are_as_long_as_the_slower_arm_needs() -> None:
    """Both alike, so that neither has more of the machine's time."""
    arms = TwoArms({"base": 100.0, "head": 100.0}, shortest_burst_s={"base": 0.05, "head": 1.25})
    compare(arms)
    assert arms.burst_s == {1.25}


def test_bursts_in_which_nothing_completes_are_an_error_that_says_so() -> None:
    record = BurstRecord((0, 0, 0, 0, 5, 5), (0.1,) * 6, make_sample(50.0))
    with pytest.raises(MeasurementError, match=r"model\[batch=8\]: nothing happened in most bursts"):
        pair_figure(CELL, record, record, seconds=1.0)


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_does_not_start_leaves_nothing_running(arm: str, error: type[Exception]) -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, failing_arm=arm)
    with pytest.raises(error, match="does not start"):
        compare(arms)
    started = Counter(name for name, what in arms.log if what == "start" and name != arm)
    assert started == Counter(name for name, what in arms.log if what == "stop")


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_is_never_ready_leaves_nothing_running(arm: str, error: type[Exception]) -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, never_ready_arm=arm)
    with pytest.raises(error, match="never ready"):
        compare(arms)
    assert {name for name, what in arms.log if what == "stop"} == {"base", "head"}


@pytest.mark.parametrize("seed", range(4))
def test_where_neither_is_ready_it_is_the_heads_failure(seed: int) -> None:
    """Whichever was started first."""
    arms = TwoArms({"base": 100.0, "head": 100.0}, never_ready_arm="both")
    with pytest.raises(ProcessError, match=r"^it is never ready$"):
        compare(arms, seed=seed)


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_dies_while_it_is_measured_is_blamed_alone(arm: str, error: type[Exception]) -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, dying_arm=arm)
    with pytest.raises(error, match="it died"):
        compare(arms)
    assert [name for name, what in arms.log if what == "stop"] == [name for name, _ in reversed(arms.log[:2])]


@pytest.mark.parametrize(("head_per_s", "status"), [(80.0, Status.REGRESSED), (100.0, Status.PASS)])
def test_the_stage_that_moved_stands_in_the_evidence(head_per_s: float, status: Status) -> None:
    share = 100.0 / head_per_s
    stages = {
        arm: {"decode": StageTime(1.0, 1.0 * more), "predict": StageTime(5.0, 5.0)}
        for arm, more in (("base", 1.0), ("head", share))
    }
    arms = TwoArms({"base": 100.0, "head": head_per_s}, stages=stages)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), budget_s=60.0)
    verdict = compared.cells[CELL].verdict
    assert verdict.status is status
    line = next(line for line in verdict.evidence if line.startswith("stages "))
    assert ("decode +25.0% [" in line) is (status is Status.REGRESSED)
    assert ("no stage stands out" in line) is (status is Status.PASS)


QUIET = Cell("api", "concurrency", 1)
# Of two groups in turn, and what fresh pairs of them say.
TARGETS = [(TwoArms({}), [CELL]), (TwoArms({}), [QUIET])]


def measure_with(
    monkeypatch: pytest.MonkeyPatch,
    log_ratios: Mapping[Cell, Iterator[float]],
    error: ServegateError | None = None,
) -> list[set[Cell]]:
    """Pairs that say what the log ratios say in turn; a cell without any fails. Returns what each pair measured."""
    measured: list[set[Cell]] = []

    def fake_pair(self: SideBySide, target: Launchable, cells: Sequence[Cell], here: str) -> MeasuredPair:
        measured.append(set(cells))
        if error is not None and not set(cells) <= log_ratios.keys():
            raise error
        sample = make_sample(100.0)
        ratios = {cell: next(log_ratios[cell]) for cell in cells}
        figures = {
            cell: PairFigure(ratio, (ratio - 1e-3, ratio + 1e-3), sample, sample, 0.0) for cell, ratio in ratios.items()
        }
        return MeasuredPair(figures, PairReport(ArmReport(), ArmReport()))

    monkeypatch.setattr(SideBySide, "measure_pair", fake_pair)
    return measured


def test_the_groups_take_turns_within_each_pair_until_they_are_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back is in the order of the cells, though the second is decided before the first."""
    noisy, quiet = itertools.cycle([0.2, -0.2]), itertools.repeat(0.0)
    measured = measure_with(monkeypatch, {CELL: noisy, QUIET: quiet})
    # A group that strays by 20 % casts doubt on the other, which needs some pairs more than it would alone.
    policy = Policy(groups=2, cells=2, margin=0.06, looks=(4, 8, 12))
    compared = side_by_side().compare(TARGETS, policy, budget_s=60.0)
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
    compared = side_by_side().compare(TARGETS, Policy(groups=2, cells=2, looks=(4, 8)), budget_s=60.0)
    assert compared.errors == {"model": error}
    assert measured.count({CELL}) == 1
    assert list(compared.cells) == [QUIET]
    assert compared.cells[QUIET].verdict.status is Status.PASS
    assert [group.name for group in compared.groups] == ["api"]


def test_without_time_left_nothing_starts_and_nothing_is_accused() -> None:
    arms = TwoArms({"base": 100.0, "head": 50.0})
    compared = side_by_side().compare([(arms, [CELL])], Policy(), budget_s=0.0)
    assert compared.cells[CELL].verdict.status is Status.INCONCLUSIVE
    assert "the run's time budget had ended" in compared.cells[CELL].verdict.reason
    assert arms.log == []


def test_a_budget_that_ends_before_the_first_look_judges_nothing() -> None:
    arms = TwoArms({"base": 100.0, "head": 50.0})
    clock = itertools.count()
    compared = replace(side_by_side(), clock_s=lambda: next(clock)).compare([(arms, [CELL])], Policy(), budget_s=2.0)
    said = "the time budget ended after 1 of the 4 pairs that a first look needs"
    assert compared.cells[CELL].verdict.reason == said
    assert [name for name, what in arms.log if what == "start"].count("base") == 1


@pytest.mark.parametrize("blocks", [1, 2, 5, 8])
def test_blocks_of_both_kinds_are_as_many_as_can_be(blocks: int) -> None:
    kinds = Counter(balanced_blocks(blocks, random.Random(1)))
    assert sum(kinds.values()) == blocks
    assert abs(kinds["ABBA"] - kinds["BAAB"]) <= 1


@pytest.mark.parametrize("arm", ["base", "head"])
def test_an_arm_that_runs_otherwise_than_it_intended_is_invalid_not_slow(arm: str) -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0, arm: 50.0}, details={arm: {"model fallback": "no GPU: on the CPU"}})
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(3,)), budget_s=60.0).cells[CELL]
    assert (compared.verdict.status, len(compared.pairs)) == (Status.INVALID, 1)
    assert compared.verdict.reason == f"the {arm} runs otherwise than intended: no GPU: on the CPU"


def test_each_pairs_details_are_kept_by_arm() -> None:
    details = {"base": {"engine": "eager"}, "head": {"engine": "compiled"}}
    arms = TwoArms({"base": 100.0, "head": 100.0}, details=details)
    compared = side_by_side().compare([(arms, [CELL])], Policy(looks=(2,)), budget_s=60.0)
    assert [{"base": pair.base.details, "head": pair.head.details} for pair in compared.reports] == [details] * 2

"""One pair of fresh processes: turns, balance, robustness, and what is left behind."""

import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from servegate.errors import MeasurementError, ProcessError, ReferenceCheckoutError
from servegate.judging.pairs import pair_figure
from servegate.load.engines import LoadEngine
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import PairPlan, Schedule, balanced_blocks
from servegate.records import BurstRecord, Cell, ProcessRecord
from unit_tests.builders.fake_arms import BASE, CELL, HEAD, FakeArms
from unit_tests.builders.runs.samples import make_sample


def compare(arms: FakeArms, *, blocks: int = 4, seed: int = 0) -> float:
    """The log ratio of one pair."""
    return fresh_pairs(blocks, seed).measure(arms, PairPlan([CELL], ())).figures[CELL].log_ratio


def fresh_pairs(blocks: int = 4, seed: int = 0) -> FreshPairs:
    return FreshPairs(BASE, HEAD, Schedule(0.1, blocks), random.Random(seed))


@pytest.mark.parametrize("head_per_s", [50.0, 90.0, 100.0, 120.0])
def test_the_figure_of_a_pair_is_the_log_ratio_of_throughput(head_per_s: float) -> None:
    arms = FakeArms({"base": 100.0, "head": head_per_s})
    assert compare(arms) == pytest.approx(math.log(head_per_s / 100.0))


def test_the_arms_take_turns_in_balanced_blocks() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    compare(arms, blocks=6)
    blocks = [arms.bursts[start : start + 4] for start in range(0, 24, 4)]
    assert Counter(blocks) == {"bhhb": 3, "hbbh": 3}


def test_a_stall_in_one_burst_counts_and_the_robust_figure_leaves_it_out() -> None:
    """Half of one block of four is missing in one arm."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, stalled_burst=5)
    figure = fresh_pairs(4).measure(arms, PairPlan([CELL], ())).figures[CELL]
    assert abs(figure.log_ratio) == pytest.approx(math.log(2) / 4)
    assert figure.robust_log_ratio == pytest.approx(0.0)


def test_both_arms_are_loaded_by_the_same_engine() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    engine = LoadEngine(processes=3)
    replace(fresh_pairs(), engine=engine).measure(arms, PairPlan([CELL], ()))
    assert arms.engines == {"base": engine, "head": engine}


def test_which_arm_starts_first_is_random() -> None:
    first: Counter[str] = Counter()
    for seed in range(40):
        arms = FakeArms({"base": 100.0, "head": 100.0})
        compare(arms, seed=seed)
        first[arms.log[0][0]] += 1
    assert min(first["base"], first["head"]) >= 10


def test_both_arms_start_at_a_time() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    compare(arms)
    assert [what for _, what in arms.log[:4]] == ["start", "start", "ready", "ready"]


def test_the_cells_of_a_group_are_loaded_in_random_order_and_its_cells_do_not_mix_with_anothers() -> None:
    groups = [[Cell(name, "load", value) for value in range(3)] for name in ("model", "api")]
    orders = set()
    for seed in range(20):
        arms = FakeArms({"base": 100.0, "head": 100.0})
        fresh_pairs(seed=seed).measure(arms, PairPlan([*groups[0], *groups[1]], groups[0]))
        loaded = arms.cells[::2]
        assert [cell.group for cell in loaded] == ["model"] * 3 + ["api"] * 3
        orders.add(tuple(cell.value for cell in loaded))
    assert len(orders) > 10


def test_a_cells_measurement_is_watched_and_no_start_or_end_of_a_process() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})

    @contextmanager
    def watch() -> Iterator[None]:
        arms.log.append(("", "watched"))
        yield
        arms.log.append(("", "seen"))

    replace(fresh_pairs(), watch=watch).measure(arms, PairPlan([CELL], ()))
    events = [what for _, what in arms.log]
    assert events.index("watched") == 4
    assert events[-5:] == ["seen", "end", "end", "stop", "stop"]


def test_the_base_stands_still_last() -> None:
    """The base may be far slower: a head that stands still while the base drains would lose its connections."""
    arms = FakeArms({"base": 100.0, "head": 100.0})
    compare(arms)
    assert [name for name, what in arms.log if what == "finish"] == ["head", "base"]


@pytest.mark.parametrize("arm", ["base", "head"])
def test_wrong_answers_are_no_figure(arm: str) -> None:
    assert math.isnan(compare(FakeArms({"base": 100.0, "head": 100.0}, wrong_arm=arm)))


def test_bursts_are_as_long_as_the_slower_arm_needs() -> None:
    """Each burst takes as long on both, so that neither has more of the machine's time."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, shortest_burst_s={"base": 0.05, "head": 1.25})
    compare(arms)
    assert arms.burst_s == {1.25}


def test_bursts_in_which_nothing_completes_are_an_error_that_says_so() -> None:
    record = BurstRecord((0, 0, 0, 0, 5, 5), (0.1,) * 6, make_sample(50.0))
    with pytest.raises(MeasurementError, match=r"model\[batch=8\]: nothing happened in most bursts"):
        pair_figure(CELL, record, record, seconds=1.0)


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_does_not_start_leaves_nothing_running(arm: str, error: type[Exception]) -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0}, failing_arm=arm)
    with pytest.raises(error, match="does not start"):
        compare(arms)
    started = Counter(name for name, what in arms.log if what == "start" and name != arm)
    assert started == Counter(name for name, what in arms.log if what == "stop")


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_is_never_ready_leaves_nothing_running(arm: str, error: type[Exception]) -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0}, never_ready_arm=arm)
    with pytest.raises(error, match="never ready"):
        compare(arms)
    assert {name for name, what in arms.log if what == "stop"} == {"base", "head"}


@pytest.mark.parametrize("seed", range(4))
def test_where_neither_is_ready_it_is_the_heads_failure(seed: int) -> None:
    """The head's failure counts, whichever was started first."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, never_ready_arm="both")
    with pytest.raises(ProcessError, match=r"^it is never ready$"):
        compare(arms, seed=seed)


@pytest.mark.parametrize(("arm", "error"), [("base", ReferenceCheckoutError), ("head", ProcessError)])
def test_an_arm_that_dies_while_it_is_measured_is_blamed_alone(arm: str, error: type[Exception]) -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0}, dying_arm=arm)
    with pytest.raises(error, match="it died"):
        compare(arms)
    assert [name for name, what in arms.log if what == "stop"] == [name for name, _ in reversed(arms.log[:2])]


def test_the_arms_take_turns_after_their_bursts() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    measured = fresh_pairs().measure(arms, PairPlan([CELL], [CELL]))
    assert arms.turns in ("bhhb", "hbbh")
    assert [what for _, what in arms.log if what in ("burst", "turn")] == ["burst"] * 16 + ["turn"] * 4
    assert list(measured.samples) == list(measured.figures) == [CELL]


def test_both_arms_are_loaded_at_the_rate_of_the_base_which_is_measured_once() -> None:
    """The head does the same work meanwhile; here it would answer half as much."""
    arms = FakeArms({"base": 100.0, "head": 100.0}, rate_per_s=70.0, shortest_turn_s=3.0)
    pairs = fresh_pairs()
    for _ in range(2):
        pairs.measure(arms, PairPlan((), [CELL]))
    assert sorted(name for name, what in arms.log if what == "capacity") == ["base", "head"]
    assert arms.loaded_per_s == [("base", 70.0), ("head", 70.0)] * 2
    assert arms.turn_s == {3.0}


def test_at_a_given_rate_each_arm_has_one_turn_in_either_order() -> None:
    orders = set()
    for seed in range(8):
        arms = FakeArms({"base": 100.0, "head": 100.0}, rate_per_s=70.0)
        fresh_pairs(seed=seed).measure(arms, PairPlan((), [CELL]))
        orders.add(arms.turns)
    assert orders == {"bh", "hb"}


@pytest.mark.parametrize("arm", ["base", "head"])
def test_a_wrong_answer_at_capacity_is_the_cells_and_nothing_is_loaded(arm: str) -> None:
    arms = FakeArms({}, rate_per_s=70.0, wrong_at_capacity=arm)
    pairs = fresh_pairs()
    samples = pairs.measure(arms, PairPlan((), [CELL])).samples[CELL]
    assert [sample.failures for sample in samples] == [("wrong",) if name == arm else () for name in ("base", "head")]
    assert [sample.answers for sample in samples] == [500, 500]
    assert (arms.loaded_per_s, pairs.rates_per_s) == ([], {})


def test_without_a_rate_each_answer_is_waited_for() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    fresh_pairs().measure(arms, PairPlan([CELL], [CELL]))
    assert arms.loaded_per_s == [("base", None), ("head", None)]


def test_a_pair_without_bursts_has_no_throughput() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    measured = fresh_pairs().measure(arms, PairPlan((), [CELL]))
    assert (arms.bursts, len(arms.turns)) == ("", 4)
    assert (list(measured.samples), measured.figures) == ([CELL], {})


@pytest.mark.parametrize(("bursts", "turns_s"), [([CELL], 4.0), ([], 6.0)])
def test_the_seconds_of_turns_are_told(bursts: list[Cell], turns_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each burst, turn and end of a load takes a second of this clock. Without bursts the load is all for the turns."""
    arms = FakeArms({"base": 100.0, "head": 100.0})
    monkeypatch.setattr(time, "monotonic", lambda: float(len(arms.log)))
    measured = fresh_pairs().measure(arms, PairPlan(bursts, [CELL]))
    assert measured.turns_s == {CELL: turns_s}
    assert [figure.seconds for figure in measured.figures.values()] == [22.0] * len(bursts)


def test_no_turns_are_taken_where_nothing_waits() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0}, takes_turns=False)
    fresh_pairs().measure(arms, PairPlan([CELL], [CELL]))
    assert arms.turns == ""


def test_processes_that_only_start_tell_how_long_it_took_them() -> None:
    records = {"base": ProcessRecord(6.0, 1e9), "head": ProcessRecord(8.0, 1.2e9)}
    arms = FakeArms({}, records=records)
    measured = fresh_pairs().measure(arms, PairPlan((), ()))
    assert measured.processes == (records["base"], records["head"])
    assert {what for _, what in arms.log} == {"start", "ready", "end", "stop"}


def test_both_are_asked_to_end_before_either_is_waited_for() -> None:
    arms = FakeArms({"base": 100.0, "head": 100.0})
    fresh_pairs().measure(arms, PairPlan([CELL], ()))
    assert [what for _, what in arms.log[-4:]] == ["end", "end", "stop", "stop"]


@pytest.mark.parametrize("blocks", [1, 2, 5, 8])
def test_blocks_of_both_kinds_are_as_many_as_can_be(blocks: int) -> None:
    more = set()
    for seed in range(8):
        kinds = Counter(balanced_blocks(blocks, random.Random(seed)))
        assert sum(kinds.values()) == blocks
        more.add(kinds["ABBA"] - kinds["BAAB"])
    assert more == ({-1, 1} if blocks % 2 else {0})  # which of them comes once more is chance

"""Two arms side by side: turns, balance, robustness, and what is left behind."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from perfgate.errors import ProcessError
from perfgate.records import Arm, Cell, Sample
from perfgate.versus import Schedule, balanced_blocks, measure_pair
from unit_tests.perfgate_tests.samples import make_sample

BASE = Arm("base", Path("base"), "python")
HEAD = Arm("head", Path("head"), "python")
CELL = Cell("model", "batch", 8)


@dataclass
class TwoArms:
    """Instruments that tell their throughput, and a log of what was done to them."""

    throughput_per_s: Mapping[str, float]
    stalled_burst: int | None = None
    failing_arm: str | None = None
    wrong_arm: str | None = None
    log: list[tuple[str, str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)

    @contextmanager
    def open(self, arm: Arm) -> Iterator["_Instrument"]:
        self.log.append((arm.name, "start"))
        if arm.name == self.failing_arm:
            raise ProcessError("it does not start")
        self.running.add(arm.name)
        try:
            yield _Instrument(arm.name, self)
        finally:
            self.running.discard(arm.name)
            self.log.append((arm.name, "stop"))

    @property
    def bursts(self) -> str:
        return "".join(name[0] for name, what in self.log if what == "measure")


@dataclass
class _Instrument:
    name: str
    arms: TwoArms
    details: Mapping[str, str] = field(default_factory=dict)

    def measure(self, cell: Cell, seconds: float) -> Sample:  # noqa: ARG002  (takes no time)
        assert self.arms.running == {self.name}, "the other arm must be paused while this one is loaded"
        stalled = len(self.arms.bursts) == self.arms.stalled_burst
        self.arms.log.append((self.name, "measure"))
        throughput_per_s = self.arms.throughput_per_s[self.name] / (20 if stalled else 1)
        return make_sample(throughput_per_s, failures=("wrong",) if self.name == self.arms.wrong_arm else ())

    def pause(self) -> None:
        self.arms.running.discard(self.name)

    def resume(self) -> None:
        self.arms.running.add(self.name)


def _silent(_: str) -> None:
    """Nobody watches."""


def compare(arms: TwoArms, *, blocks: int = 4, seed: int = 0) -> float:
    """The log ratio of one pair."""
    figures = measure_pair(
        arms.open,
        BASE,
        HEAD,
        [CELL],
        Schedule(0.1, blocks, budget_s=60),
        random.Random(seed),
        progress=_silent,
    )
    return figures[CELL].log_ratio


@pytest.mark.parametrize("head_per_s", [50.0, 90.0, 100.0, 120.0])
def test_the_figure_of_a_pair_is_the_log_ratio_of_throughput(head_per_s: float) -> None:
    arms = TwoArms({"base": 100.0, "head": head_per_s})
    assert compare(arms) == pytest.approx(math.log(head_per_s / 100.0))


def test_the_arms_take_turns_in_balanced_blocks() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0})
    compare(arms, blocks=6)
    blocks = [arms.bursts[start : start + 4] for start in range(0, 24, 4)]
    assert Counter(blocks) == {"bhhb": 3, "hbbh": 3}


def test_a_stall_in_one_burst_does_not_move_the_figure() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, stalled_burst=5)
    assert compare(arms) == pytest.approx(0.0)


def test_which_arm_starts_first_is_random() -> None:
    first: Counter[str] = Counter()
    for seed in range(40):
        arms = TwoArms({"base": 100.0, "head": 100.0})
        compare(arms, seed=seed)
        first[arms.log[0][0]] += 1
    assert min(first["base"], first["head"]) >= 10


def test_a_wrong_answer_ends_the_cell_without_a_figure() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, wrong_arm="head")
    assert math.isnan(compare(arms))
    assert arms.bursts.count("h") == 1


def test_an_arm_that_does_not_start_leaves_nothing_running() -> None:
    arms = TwoArms({"base": 100.0, "head": 100.0}, failing_arm="base")
    with pytest.raises(ProcessError, match="does not start"):
        compare(arms)
    started = Counter(name for name, what in arms.log if what == "start" and name != "base")
    assert started == Counter(name for name, what in arms.log if what == "stop")


@pytest.mark.parametrize("blocks", [1, 2, 5, 8])
def test_blocks_of_both_kinds_are_as_many_as_can_be(blocks: int) -> None:
    kinds = Counter(balanced_blocks(blocks, random.Random(1)))
    assert sum(kinds.values()) == blocks
    assert abs(kinds["ABBA"] - kinds["BAAB"]) <= 1

"""Two arms side by side, interleaved, from fresh processes. Knows neither git nor images.

A pair of fresh processes, one an arm, is the replicate. Within a pair the arms take turns in bursts, never both at a
time, in balanced blocks (ABBA or BAAB, half of each), so that whatever drifts over a block cancels. A block's figure is
the mean difference of log throughput of its two bursts each, a pair's figure for a cell the median over its blocks: a
stall of seconds spoils one block.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from perfgate.judge import Policy, judge_pairs, why_invalid
from perfgate.measure import OpenArm, PausableInstrument
from perfgate.records import Arm, Cell, Sample, Status, Verdict
from perfgate.stats import geometric_mean

_LEAST_PAIRS = 2


@dataclass(frozen=True)
class Schedule:
    """How a pair is measured.

    Attributes
    ----------
    burst_s:
        Seconds of load in a burst; a cell whose requests take longer gets as much as it needs.
    blocks:
        Blocks of four bursts for each cell in a pair.
    budget_s:
        Seconds after which no further pair begins.
    """

    burst_s: float
    blocks: int
    budget_s: float


@dataclass(frozen=True)
class PairFigure:
    """What one pair of fresh processes says of one cell.

    Attributes
    ----------
    log_ratio:
        log(throughput of head / throughput of base): the replicate that tests run on.
    blocks:
        The blocks whose median it is.
    base, head:
        What each burst measured.
    """

    log_ratio: float
    blocks: tuple[float, ...]
    base: tuple[Sample, ...]
    head: tuple[Sample, ...]


@dataclass
class _Bursts:
    blocks: list[float] = field(default_factory=list)
    base: list[Sample] = field(default_factory=list)
    head: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """A cell's verdict by pairs, and what the head measured in them."""

    verdict: Verdict
    head: tuple[Sample, ...]


def compare_cells(
    open_arm: OpenArm,
    base: Arm,
    head: Arm,
    cells: Sequence[Cell],
    policy: Policy,
    schedule: Schedule,
    order: random.Random,
    progress: Callable[[str], None],
) -> dict[Cell, Comparison]:
    """Compare cells pair by pair until each is decided, or the last look or the time budget is reached.

    A cell that is decided at a look is not measured again.

    Raises
    ------
    PerfgateError
        When an arm doesn't start or measuring fails.
    """
    end_s = time.monotonic() + schedule.budget_s
    figures: dict[Cell, list[PairFigure]] = {cell: [] for cell in cells}
    decided: dict[Cell, Comparison] = {}
    for pair in range(1, policy.looks[-1] + 1):
        undecided = [cell for cell in cells if cell not in decided]
        if not undecided:
            break

        def show(text: str, pair: int = pair) -> None:
            progress(f"side by side, pair {pair} of {policy.looks[-1]} at most: {text}")

        start_s = time.monotonic()
        for cell, figure in measure_pair(open_arm, base, head, undecided, schedule, order, show).items():
            figures[cell].append(figure)
        pair_s = time.monotonic() - start_s
        last = pair == policy.looks[-1] or time.monotonic() + pair_s > end_s
        for cell in undecided:
            verdict = _judge(policy, figures[cell], at_look=pair in policy.looks, last=last)
            if verdict is not None:
                samples = tuple(sample for figure in figures[cell] for sample in figure.head)
                decided[cell] = Comparison(verdict, samples)
        if last:
            break
    return decided


def _judge(policy: Policy, figures: Sequence[PairFigure], *, at_look: bool, last: bool) -> Verdict | None:
    for name, samples in (
        ("base", [sample for figure in figures for sample in figure.base]),
        ("head", [sample for figure in figures for sample in figure.head]),
    ):
        invalid = why_invalid(policy, samples)
        if invalid:
            return Verdict(Status.INVALID, f"in the {name}, {invalid}")
    if not (at_look or last):
        return None
    if len(figures) < _LEAST_PAIRS:
        return Verdict(Status.INCONCLUSIVE, f"the time budget ended after {len(figures)} pair of fresh processes")
    verdict = judge_pairs(policy, [figure.log_ratio for figure in figures], last=last)
    if verdict is None:
        return None
    return replace(
        verdict,
        now_per_s=geometric_mean([sample.mean_throughput_per_s for figure in figures for sample in figure.head]),
        baseline_per_s=geometric_mean([sample.mean_throughput_per_s for figure in figures for sample in figure.base]),
    )


def measure_pair(
    open_arm: OpenArm,
    base: Arm,
    head: Arm,
    cells: Sequence[Cell],
    schedule: Schedule,
    order: random.Random,
    progress: Callable[[str], None],
) -> dict[Cell, PairFigure]:
    """Start one fresh process an arm and compare them on every cell.

    Parameters
    ----------
    order:
        Decides which arm starts first, the order of the cells and of the blocks.
    progress:
        Called with a line of text whenever something new begins.

    Raises
    ------
    PerfgateError
        When an arm doesn't start or measuring fails; both are stopped.
    """
    with ExitStack() as processes:
        instruments: dict[str, PausableInstrument] = {}
        for arm in order.sample([base, head], 2):
            progress(f"{arm.name} starts")
            instruments[arm.name] = processes.enter_context(open_arm(arm))
            instruments[arm.name].pause()
        figures = {}
        for cell in order.sample(list(cells), len(cells)):
            progress(str(cell))
            figures[cell] = _compare(instruments[base.name], instruments[head.name], cell, schedule, order)
        return figures


def balanced_blocks(blocks: int, order: random.Random) -> list[str]:
    """`blocks` times ABBA or BAAB in random order, as many of one as of the other (one more if odd)."""
    kinds = ["ABBA", "BAAB"] * math.ceil(blocks / 2)
    return order.sample(kinds[:blocks], blocks)


def _compare(
    base: PausableInstrument, head: PausableInstrument, cell: Cell, schedule: Schedule, order: random.Random
) -> PairFigure:
    bursts = _Bursts()
    for block in balanced_blocks(schedule.blocks, order):
        logs: dict[str, list[float]] = {"A": [], "B": []}
        for arm in block:
            sample = _burst(base if arm == "A" else head, cell, schedule.burst_s)
            (bursts.base if arm == "A" else bursts.head).append(sample)
            if sample.failures:
                return PairFigure(math.nan, (), tuple(bursts.base), tuple(bursts.head))
            logs[arm].append(math.log(sample.mean_throughput_per_s))
        bursts.blocks.append(fmean(logs["B"]) - fmean(logs["A"]))
    return PairFigure(median(bursts.blocks), tuple(bursts.blocks), tuple(bursts.base), tuple(bursts.head))


def _burst(instrument: PausableInstrument, cell: Cell, seconds: float) -> Sample:
    instrument.resume()
    try:
        return instrument.measure(cell, seconds)
    finally:
        instrument.pause()

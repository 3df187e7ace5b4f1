"""Two arms side by side, interleaved, from fresh processes. Knows neither git nor images.

A pair of fresh processes, one an arm, is the replicate. Within a pair the arms take turns in bursts, never both at a
time, in balanced blocks (ABBA or BAAB, half of each), so that whatever drifts over a block cancels. A block's figure is
the log ratio of the arms' throughput in their two bursts each, a pair's figure for a cell the mean of the middle half
of its blocks: a stall of seconds spoils one block and moves it little.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from servegate.errors import ReferenceCheckoutError, ServegateError
from servegate.judging.estimators import geometric_mean
from servegate.judging.judge import Policy, describe_failures, judge_pairs, why_invalid
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.judging.stages import compare_stages, describe_stages, name_stages
from servegate.measure.process_by_process import describe_duration
from servegate.measure.targets import LaunchArm, PausableTarget
from servegate.records import Cell, Checkout, Status, Verdict

_LEAST_PAIRS = 2


@dataclass(frozen=True)
class Schedule:
    """How a pair is measured.

    Attributes
    ----------
    burst_s:
        Seconds of load in a burst; one batch of the model alone if that takes longer.
    blocks:
        Blocks of four bursts for each cell in a pair.
    budget_s:
        Seconds after which no further pair begins.
    """

    burst_s: float
    blocks: int
    budget_s: float


@dataclass(frozen=True)
class Comparison:
    """A cell's verdict, and the pairs that it is by."""

    verdict: Verdict
    pairs: tuple[PairFigure, ...]


def compare_cells(
    launch_arm: LaunchArm,
    base: Checkout,
    head: Checkout,
    cells: Sequence[Cell],
    policy: Policy,
    schedule: Schedule,
    order: random.Random,
    progress: Callable[[str], None],
) -> dict[Cell, Comparison]:
    """Compare cells pair by pair until each is decided, or the last look or the time budget is reached.

    A cell that is decided at a look is not measured again. What comes back is in the order of the cells.

    Raises
    ------
    ReferenceCheckoutError
        When the base doesn't start or can't be measured.
    ServegateError
        When the head doesn't start or can't be measured.
    """
    start_s = time.monotonic()
    figures: dict[Cell, list[PairFigure]] = {cell: [] for cell in cells}
    decided: dict[Cell, Comparison] = {}
    for pair in range(1, policy.looks[-1] + 1):
        undecided = [cell for cell in cells if cell not in decided]
        if not undecided:
            break
        show = _progress_of_pair(progress, policy, pair, time.monotonic() - start_s)
        pair_start_s = time.monotonic()
        for cell, figure in measure_pair(launch_arm, base, head, undecided, schedule, order, show).items():
            figures[cell].append(figure)
        now_s = time.monotonic()
        last = pair == policy.looks[-1] or now_s + (now_s - pair_start_s) > start_s + schedule.budget_s
        for cell in undecided:
            verdict = _judge(policy, figures[cell], at_look=pair in policy.looks, last=last)
            if verdict is not None:
                decided[cell] = Comparison(verdict, tuple(figures[cell]))
        if last:
            break
    return {cell: decided[cell] for cell in cells}


def _progress_of_pair(
    progress: Callable[[str], None], policy: Policy, pair: int, elapsed_s: float
) -> Callable[[str], None]:
    """Says which pair this is, and from the second on how long it is to the next look."""
    look = next(look for look in policy.looks if look >= pair)
    here = f"side by side, pair {pair} of {look}"
    if look < policy.looks[-1]:
        here += f" (at most {policy.looks[-1]})"
    if pair > 1:
        here += f", {describe_duration(elapsed_s / (pair - 1) * (look - pair + 1))} to the next verdicts"

    def show(text: str) -> None:
        progress(f"{here}: {text}")

    return show


def _judge(policy: Policy, figures: Sequence[PairFigure], *, at_look: bool, last: bool) -> Verdict | None:
    base, head = [figure.base for figure in figures], [figure.head for figure in figures]
    invalid = why_invalid(policy, head)
    if invalid:
        return Verdict(Status.INVALID, invalid)
    wrong = describe_failures(base)
    if wrong:
        now_per_s = geometric_mean([sample.mean_throughput_per_s for sample in head])
        return Verdict(Status.NO_BASELINE, f"the base can't serve this cell: {wrong}", now_per_s=now_per_s)
    invalid = why_invalid(policy, base)
    if invalid:
        return Verdict(Status.INVALID, f"in the base, {invalid}")
    if not (at_look or last):
        return None
    if len(figures) < _LEAST_PAIRS:
        return Verdict(Status.INCONCLUSIVE, f"the time budget ended after {len(figures)} pair of fresh processes")
    verdict = judge_pairs(
        policy, [figure.log_ratio for figure in figures], [figure.variance for figure in figures], last=last
    )
    if verdict is None:
        return None
    verdict = _with_stages(verdict, figures, policy.margin)
    return replace(
        verdict,
        now_per_s=geometric_mean([sample.mean_throughput_per_s for sample in head]),
        baseline_per_s=geometric_mean([sample.mean_throughput_per_s for sample in base]),
    )


def _with_stages(verdict: Verdict, figures: Sequence[PairFigure], margin: float) -> Verdict:
    """The stages' changes in the evidence; of a cell that changed, the one that moved in the reason."""
    changes = compare_stages([figure.parts for figure in figures])
    if not changes:
        return verdict
    reason = verdict.reason
    if verdict.status in (Status.REGRESSED, Status.IMPROVED):
        reason += f"; {name_stages(changes, margin)}"
    return replace(verdict, reason=reason, evidence=(*verdict.evidence, f"stages   {describe_stages(changes, margin)}"))


def measure_pair(
    launch_arm: LaunchArm,
    base: Checkout,
    head: Checkout,
    cells: Sequence[Cell],
    schedule: Schedule,
    order: random.Random,
    progress: Callable[[str], None],
) -> dict[Cell, PairFigure]:
    """Start one fresh process an arm, both at a time, and compare them on every cell.

    Parameters
    ----------
    order:
        Decides which arm starts first, the order of the cells and of the blocks.
    progress:
        Called with a line of text whenever something new begins.

    Raises
    ------
    ReferenceCheckoutError
        When the base doesn't start or can't be measured; both are stopped.
    ServegateError
        When the head doesn't start or can't be measured; both are stopped.
    """
    start_s = time.monotonic()
    with ExitStack() as processes:
        progress("both start")
        launched: list[tuple[Checkout, Callable[[], PausableTarget]]] = []
        for arm in order.sample([base, head], 2):
            with _blamed_on(arm, base):
                launched.append((arm, processes.enter_context(launch_arm(arm))))
        contenders: dict[str, PausableTarget] = {}
        for arm, wait_until_ready in launched:
            with _blamed_on(arm, base):
                contenders[arm.name] = wait_until_ready()
        start_seconds = time.monotonic() - start_s
        figures = {}
        for cell in order.sample(list(cells), len(cells)):
            progress(str(cell))
            figure = _compare(base, head, contenders, cell, schedule, order)
            figures[cell] = replace(figure, start_seconds=start_seconds)
        return figures


@contextmanager
def _blamed_on(arm: Checkout, base: Checkout) -> Iterator[None]:
    """What goes wrong in the base is a ReferenceCheckoutError: the head is not to blame."""
    try:
        yield
    except ServegateError as error:
        if arm is base:
            raise ReferenceCheckoutError(f"the base can't be measured: {error}") from error
        raise


def balanced_blocks(blocks: int, order: random.Random) -> list[str]:
    """`blocks` times ABBA or BAAB in random order, as many of one as of the other (one more if odd)."""
    kinds = ["ABBA", "BAAB"] * math.ceil(blocks / 2)
    return order.sample(kinds[:blocks], blocks)


def _compare(
    base: Checkout,
    head: Checkout,
    contenders: Mapping[str, PausableTarget],
    cell: Cell,
    schedule: Schedule,
    order: random.Random,
) -> PairFigure:
    start_s = time.monotonic()
    loads = {}
    for arm in (base, head):
        with _blamed_on(arm, base):
            loads[arm.name] = contenders[arm.name].start_load(cell)
    burst_s = max(schedule.burst_s, *(load.shortest_burst_s for load in loads.values()))
    for turn in "".join(balanced_blocks(schedule.blocks, order)):
        arm = base if turn == "A" else head
        with _blamed_on(arm, base):
            loads[arm.name].burst(burst_s)
    records = {}
    # The head first, which is seldom far slower: while one drains the other stands still, and a server that wakes up
    # after some 5 s may close connections that it takes for idle.
    for arm in (head, base):
        with _blamed_on(arm, base):
            records[arm.name] = loads[arm.name].finish()
    return pair_figure(cell, records[base.name], records[head.name], seconds=time.monotonic() - start_s)

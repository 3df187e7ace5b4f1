"""Two checkouts side by side, interleaved, from fresh processes.

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
from dataclasses import dataclass, field, replace

from servegate.errors import ReferenceCheckoutError, ServegateError
from servegate.judging.arms import ArmReport, PairReport, describe_fallback, with_arms
from servegate.judging.estimators import geometric_mean
from servegate.judging.judge import Policy, describe_failures, judge_pairs, why_invalid
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.judging.stages import compare_stages, describe_stages, name_stages
from servegate.measure.loaded_files import LoadWatch, watch_loading
from servegate.measure.process_by_process import describe_duration
from servegate.measure.targets import BurstLoad, Launchable, LaunchedProcess, PausableTarget
from servegate.records import Cell, Checkout, Status, Verdict

_LEAST_PAIRS = 2
_OUT_OF_TIME = Verdict(Status.INCONCLUSIVE, "the run's time budget had ended before this could be compared")


@dataclass(frozen=True)
class Schedule:
    """How a pair is measured.

    Attributes
    ----------
    burst_s:
        Seconds of load in a burst; one batch of the model alone if that takes longer.
    blocks:
        Blocks of four bursts for each cell in a pair.
    """

    burst_s: float
    blocks: int


@dataclass(frozen=True)
class Comparison:
    """A cell's verdict, and the pairs that it is by."""

    verdict: Verdict
    pairs: tuple[PairFigure, ...]


@dataclass(frozen=True)
class SideBySide:
    """Two checkouts, and how they are put beside each other.

    Attributes
    ----------
    order:
        Decides which checkout starts first, the order of the cells and of the blocks.
    progress:
        Called with a line of text whenever something new begins.
    reports:
        What both ran, pair by pair; `measure_pair` appends to it.
    """

    base: Checkout
    head: Checkout
    schedule: Schedule
    order: random.Random = field(default_factory=random.Random)
    progress: Callable[[str], None] = lambda _: None
    reports: list[PairReport] = field(default_factory=list)

    def compare(
        self, target: Launchable, cells: Sequence[Cell], policy: Policy, budget_s: float
    ) -> dict[Cell, Comparison]:
        """Compare cells pair by pair until each is decided, or the last look or the time budget is reached.

        A cell that is decided at a look is not measured again. What comes back is in the order of the cells.

        Parameters
        ----------
        budget_s:
            Seconds after which no further pair begins; without any left nothing is measured.

        Raises
        ------
        ReferenceCheckoutError
            When the base doesn't start or can't be measured.
        WrongCodeError
            When either ran other code than its checkout's.
        ServegateError
            When the head doesn't start or can't be measured.
        """
        if budget_s <= 0:
            return {cell: Comparison(_OUT_OF_TIME, ()) for cell in cells}
        start_s = time.monotonic()
        figures: dict[Cell, list[PairFigure]] = {cell: [] for cell in cells}
        decided: dict[Cell, Comparison] = {}
        for pair in range(1, policy.looks[-1] + 1):
            undecided = [cell for cell in cells if cell not in decided]
            if not undecided:
                break
            here = _describe_pair(policy, pair, time.monotonic() - start_s)
            pair_start_s = time.monotonic()
            for cell, figure in self.measure_pair(target, undecided, here).items():
                figures[cell].append(figure)
            now_s = time.monotonic()
            last = pair == policy.looks[-1] or now_s + (now_s - pair_start_s) > start_s + budget_s
            for cell in undecided:
                fallback = describe_fallback(self.reports)
                verdict = (
                    _judge(policy, figures[cell], at_look=pair in policy.looks, last=last)
                    if fallback is None
                    else Verdict(Status.INVALID, fallback)
                )
                if verdict is not None:
                    decided[cell] = Comparison(with_arms(verdict, self.reports), tuple(figures[cell]))
            if last:
                break
        return {cell: decided[cell] for cell in cells}

    def measure_pair(self, target: Launchable, cells: Sequence[Cell], here: str = "one pair") -> dict[Cell, PairFigure]:
        """Start one fresh process a checkout, both at a time, and compare them on every cell.

        Parameters
        ----------
        here:
            Stands before each line of progress.

        Raises
        ------
        ReferenceCheckoutError
            When the base doesn't start or can't be measured; both are stopped.
        WrongCodeError
            When either ran other code than its checkout's.
        ServegateError
            When the head doesn't start or can't be measured; both are stopped.
        """
        start_s = time.monotonic()
        with ExitStack() as processes:
            watch = processes.enter_context(watch_loading((self.base, self.head)))
            self.progress(f"{here}: both start")
            launched: list[tuple[Checkout, LaunchedProcess]] = []
            for checkout in self.order.sample([self.base, self.head], 2):
                with self._blaming(checkout):
                    launched.append((checkout, processes.enter_context(target.launch(watch.watched(checkout)))))
            ready: dict[str, PausableTarget] = {}
            for checkout, process in launched:
                with self._blaming(checkout):
                    ready[checkout.name] = process.wait_until_ready()
            start_seconds = time.monotonic() - start_s
            self._report(watch, ready)  # wrong code ends the run before it is measured
            figures = {}
            for cell in self.order.sample(list(cells), len(cells)):
                self.progress(f"{here}: {cell}")
                figures[cell] = replace(self._compare_cell(ready, cell), start_seconds=start_seconds)
            self.reports.append(self._report(watch, ready))  # by now it has loaded what it loads at its first request
            return figures

    def _report(self, watch: LoadWatch, ready: Mapping[str, PausableTarget]) -> PairReport:
        base, head = (
            ArmReport(process.details, watch.own_files(checkout, is_python=process.is_python))
            for checkout, process in ((arm, ready[arm.name]) for arm in (self.base, self.head))
        )
        return PairReport(base, head)

    def _compare_cell(self, ready: Mapping[str, PausableTarget], cell: Cell) -> PairFigure:
        start_s = time.monotonic()
        loads: dict[str, BurstLoad] = {}
        for checkout in (self.base, self.head):
            with self._blaming(checkout):
                loads[checkout.name] = ready[checkout.name].start_load(cell)
        burst_s = max(self.schedule.burst_s, *(load.shortest_burst_s for load in loads.values()))
        for turn in "".join(balanced_blocks(self.schedule.blocks, self.order)):
            checkout = self.base if turn == "A" else self.head
            with self._blaming(checkout):
                loads[checkout.name].burst(burst_s)
        records = {}
        # The head first, which is seldom far slower: while one drains the other stands still, and a server that wakes
        # up after some 5 s may close connections that it takes for idle.
        for checkout in (self.head, self.base):
            with self._blaming(checkout):
                records[checkout.name] = loads[checkout.name].finish()
        seconds = time.monotonic() - start_s
        return pair_figure(cell, records[self.base.name], records[self.head.name], seconds=seconds)

    @contextmanager
    def _blaming(self, checkout: Checkout) -> Iterator[None]:
        """What goes wrong in the base is a ReferenceCheckoutError: the head is not to blame."""
        try:
            yield
        except ServegateError as error:
            if checkout is self.base:
                raise ReferenceCheckoutError(f"the base can't be measured: {error}") from error
            raise


def _describe_pair(policy: Policy, pair: int, elapsed_s: float) -> str:
    """Which pair this is, and from the second on how long it is to the next look."""
    look = next(look for look in policy.looks if look >= pair)
    here = f"side by side, pair {pair} of {look}"
    if look < policy.looks[-1]:
        here += f" (at most {policy.looks[-1]})"
    if pair > 1:
        here += f", {describe_duration(elapsed_s / (pair - 1) * (look - pair + 1))} to the next verdicts"
    return here


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


def balanced_blocks(blocks: int, order: random.Random) -> list[str]:
    """`blocks` times ABBA or BAAB in random order, as many of one as of the other (one more if odd)."""
    kinds = ["ABBA", "BAAB"] * math.ceil(blocks / 2)
    return order.sample(kinds[:blocks], blocks)

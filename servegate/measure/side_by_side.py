"""Two checkouts side by side, interleaved, from fresh processes.

A pair of fresh processes, one an arm, is the replicate. Within a pair the arms take turns in bursts, never both at a
time, in balanced blocks (ABBA or BAAB, half of each), so that whatever drifts over a block cancels. A block's figure is
the log ratio of the arms' throughput in their two bursts each, a pair's figure for a cell the mean of its blocks.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from servegate.errors import ReferenceCheckoutError, ServegateError
from servegate.judging.arms import ArmReport, PairReport
from servegate.judging.cell_result import Comparison
from servegate.judging.comparison import ComparisonJudge
from servegate.judging.group_result import GroupResult
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.judging.policy import Policy
from servegate.measure.loaded_files import LoadWatch, watch_loading
from servegate.measure.process_by_process import describe_duration
from servegate.measure.targets import BurstLoad, Launchable, LaunchedProcess, PausableTarget
from servegate.records import Cell, Checkout


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
class Compared:
    """The outcome of a comparison.

    Attributes
    ----------
    cells, groups:
        Their verdicts.
    errors:
        The reason why a group couldn't be measured, by group; its cells have no verdict then.
    reports:
        The report of what the arms ran, for each pair of each group.
    """

    cells: Mapping[Cell, Comparison]
    groups: Sequence[GroupResult]
    errors: Mapping[str, ServegateError]
    reports: Sequence[PairReport] = ()


@dataclass(frozen=True)
class MeasuredPair:
    """The figures of one pair of fresh processes, and the report of what the arms ran."""

    figures: Mapping[Cell, PairFigure]
    report: PairReport


@dataclass(frozen=True)
class SideBySide:
    """Two checkouts, and how they are put beside each other.

    Attributes
    ----------
    order:
        Decides which checkout starts first, the order of the cells and of the blocks.
    progress:
        Called with a line of text whenever something new begins.
    clock_s:
        The seconds that the time budget is counted in.
    watch:
        Makes a context that each measurement of a cell runs in.
    """

    base: Checkout
    head: Checkout
    schedule: Schedule
    order: random.Random = field(default_factory=random.Random)
    progress: Callable[[str], None] = lambda _: None
    clock_s: Callable[[], float] = time.monotonic
    watch: Callable[[], AbstractContextManager[None]] = nullcontext

    def compare(
        self, targets: Sequence[tuple[Launchable, Sequence[Cell]]], policy: Policy, budget_s: float
    ) -> Compared:
        """Compare the cells of several targets pair by pair, until all are decided or no time is left.

        All targets are measured within each pair, since each learns from the others how far fresh processes differ.
        A cell that is decided at a look is not measured again.

        Parameters
        ----------
        targets:
            Each with its cells; a target's cells are one group.
        budget_s:
            Seconds after which no further pair begins; without any left nothing is measured.
        """
        judge = ComparisonJudge(policy, [cell for _, cells in targets for cell in cells])
        errors: dict[str, ServegateError] = {}
        reports: list[PairReport] = []
        start_s = self.clock_s()
        for pair in range(1, policy.looks[-1] + 1):
            pair_start_s = self.clock_s()
            if pair_start_s >= start_s + budget_s:
                break
            here = _describe_pair(policy, pair, pair_start_s - start_s)
            for target, cells in targets:
                group = cells[0].group
                open_cells = judge.open_cells(group)
                if open_cells:
                    try:
                        measured = self.measure_pair(target, open_cells, f"{here}: {group}")
                        reports.append(measured.report)
                        judge.add(measured.figures, fallback=measured.report.fallback)
                    except ServegateError as error:
                        errors[group] = error
                        judge.drop(group)
            now_s = self.clock_s()
            last = pair == policy.looks[-1] or now_s + (now_s - pair_start_s) > start_s + budget_s
            if pair in policy.looks or last:
                judge.look(last=last)
            if last or not judge.is_any_open:
                break
        cells_compared = {cell: found for cell, found in judge.compared_cells().items() if cell.group not in errors}
        return Compared(cells_compared, judge.compared_groups(), errors, reports)

    def measure_pair(self, target: Launchable, cells: Sequence[Cell], here: str = "one pair") -> MeasuredPair:
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
            failures: dict[str, ServegateError] = {}
            for checkout, process in launched:
                try:
                    with self._blaming(checkout):
                        ready[checkout.name] = process.wait_until_ready()
                except ServegateError as error:
                    failures[checkout.name] = error
            if failures:
                # If both fail, the head's failure counts, whichever we waited for first.
                raise failures.get(self.head.name) or failures[self.base.name]
            start_seconds = time.monotonic() - start_s
            self._report(watch, ready)  # wrong code ends the run before it is measured
            figures = {}
            for cell in self.order.sample(list(cells), len(cells)):
                self.progress(f"{here}: {cell}")
                with self.watch():
                    figures[cell] = replace(self._compare_cell(ready, cell), start_seconds=start_seconds)
            # By now the processes have loaded the files that they load at their first request.
            return MeasuredPair(figures, self._report(watch, ready))

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


def balanced_blocks(blocks: int, order: random.Random) -> list[str]:
    """`blocks` times ABBA or BAAB in random order, as many of one as of the other (one more if odd)."""
    kinds = ["ABBA", "BAAB"] * math.ceil(blocks / 2)
    return order.sample(kinds[:blocks], blocks)

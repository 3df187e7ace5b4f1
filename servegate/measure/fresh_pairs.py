"""Measure one pair of fresh processes, one of each arm, which start together and are loaded alternately.

Within a pair the arms take turns in bursts, never both at a time, in balanced blocks (ABBA or BAAB, half of each), so
that whatever drifts over a block cancels. A block's figure is the log ratio of the arms' throughput in their two bursts
each, a pair's figure for a cell the mean of its blocks. Then they take longer turns, which show how late requests come;
see `servegate.measure.bursts`.
"""

import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from servegate.errors import ReferenceCheckoutError, ServegateError
from servegate.judging.arms import ArmReport, PairReport
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.load.engines import LoadEngine
from servegate.measure.loaded_files import LoadWatch, watch_loading
from servegate.measure.pair_plan import TURNS_AT_GIVEN_RATE, TURNS_OF_AN_ARM, PairPlan, Schedule, balanced_blocks
from servegate.measure.samples import unmeasured_record
from servegate.measure.targets import BurstLoad, Launchable, LaunchedProcess, PausableTarget
from servegate.records import BurstRecord, Cell, Checkout, ProcessRecord, Sample


@dataclass(frozen=True)
class MeasuredPair:
    """The measurements of one pair of fresh processes.

    Attributes
    ----------
    figures:
        The throughput of each cell that was loaded in bursts.
    samples, processes:
        The records of the base and of the head.
    report:
        The report of what the arms ran.
    turns_s:
        Seconds that each cell's turns took; of a cell that had no bursts, all its seconds.
    """

    figures: Mapping[Cell, PairFigure]
    samples: Mapping[Cell, tuple[Sample, Sample]]
    processes: tuple[ProcessRecord, ProcessRecord]
    report: PairReport
    turns_s: Mapping[Cell, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FreshPairs:
    """Two checkouts, and the way in which their fresh processes are compared.

    Attributes
    ----------
    order:
        Decides which checkout starts first, the order of a group's cells and of the blocks.
    progress:
        Called with a line of text whenever something new begins.
    watch:
        Makes a context in which each measurement of a cell runs.
    engine:
        The built-in client, which loads both checkouts with the same number of processes.
    rates_per_s:
        The rates that were measured, once for all pairs: both checkouts are loaded at the same rate.
    """

    base: Checkout
    head: Checkout
    schedule: Schedule
    order: random.Random = field(default_factory=random.Random)
    progress: Callable[[str], None] = lambda _: None
    watch: Callable[[], AbstractContextManager[None]] = nullcontext
    engine: LoadEngine = field(default_factory=LoadEngine)
    rates_per_s: dict[Cell, float] = field(default_factory=dict)

    def measure(self, target: Launchable, plan: PairPlan, here: str = "one pair") -> MeasuredPair:
        """Start one fresh process of each checkout, both together, and load them alternately as planned.

        Parameters
        ----------
        here:
            The text before each line of progress.

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
            launched: dict[str, LaunchedProcess] = {}
            for checkout in self.order.sample([self.base, self.head], 2):
                with self._blaming(checkout):
                    launched[checkout.name] = processes.enter_context(target.launch(watch.watched(checkout)))
            failures = wait_for_all(launched)
            # If both fail, the head's failure counts.
            for checkout in (self.head, self.base):
                if checkout.name in failures:
                    with self._blaming(checkout):
                        raise failures[checkout.name]
            opened: dict[str, PausableTarget] = {}
            for checkout in (self.head, self.base):
                with self._blaming(checkout):
                    opened[checkout.name] = launched[checkout.name].open(self.engine)
            of_base, of_head = opened[self.base.name], opened[self.head.name]
            ready = {self.base.name: of_base.adapt_to(of_head), self.head.name: of_head.adapt_to(of_base)}
            start_seconds = time.monotonic() - start_s
            self._report(watch, ready)  # wrong code ends the run before it is measured
            figures, samples, turns_s = {}, {}, {}
            for cell in self._draw_order(plan.cells):
                self.progress(f"{here}: {cell}")
                cell_start_s = time.monotonic()
                with self.watch():
                    base, head, turns_s[cell] = self._load_cell(ready, cell, plan)
                samples[cell] = base.sample, head.sample
                if cell in plan.bursts:
                    figure = pair_figure(cell, base, head, seconds=time.monotonic() - cell_start_s)
                    figures[cell] = replace(figure, start_seconds=start_seconds)
                else:
                    turns_s[cell] = time.monotonic() - cell_start_s
            # By now the processes have loaded the files that they load at their first request.
            records = ready[self.base.name].record, ready[self.head.name].record
            report = self._report(watch, ready)
            for process in launched.values():
                process.ask_to_end()
            return MeasuredPair(figures, samples, records, report, turns_s)

    def _draw_order(self, cells: Sequence[Cell]) -> list[Cell]:
        """Order the cells by chance within each group, and the groups as they come.

        A request for a large photo frees memory, in which a leak of later requests hides. So groups don't mix.
        """
        drawn = self.order.sample(cells, len(cells))
        groups = list(dict.fromkeys(cell.group for cell in cells))
        return sorted(drawn, key=lambda cell: groups.index(cell.group))

    def _report(self, watch: LoadWatch, ready: Mapping[str, PausableTarget]) -> PairReport:
        base, head = (
            ArmReport(process.details, watch.own_files(checkout, is_python=process.is_python))
            for checkout, process in ((arm, ready[arm.name]) for arm in (self.base, self.head))
        )
        return PairReport(base, head)

    def _load_cell(
        self, ready: Mapping[str, PausableTarget], cell: Cell, plan: PairPlan
    ) -> tuple[BurstRecord, BurstRecord, float]:
        """Load both arms in turn, in the bursts and turns that the plan has for the cell.

        Returns
        -------
        tuple
            The records of the base and of the head, and the seconds that the turns took.
        """
        failed = self._measure_rate(ready, cell)
        if failed is not None:
            return *failed, 0.0
        loads: dict[str, BurstLoad] = {}
        for checkout in (self.base, self.head):
            with self._blaming(checkout):
                loads[checkout.name] = ready[checkout.name].start_load(cell, self.rates_per_s.get(cell))
        if cell in plan.bursts:
            burst_s = max(self.schedule.burst_s, *(load.shortest_burst_s for load in loads.values()))
            for checkout in self._alternate(self.schedule.blocks):
                with self._blaming(checkout):
                    loads[checkout.name].burst(burst_s)
        turns_start_s = time.monotonic()
        if cell in plan.turns and all(load.takes_turns for load in loads.values()):
            turn_s = max(self.schedule.turn_s, *(load.shortest_turn_s for load in loads.values()))
            turns = TURNS_AT_GIVEN_RATE if cell in self.rates_per_s else TURNS_OF_AN_ARM
            for checkout in itertools.islice(self._alternate(blocks=math.ceil(turns / 2)), 2 * turns):
                with self._blaming(checkout):
                    loads[checkout.name].turn(turn_s)
        turns_s = time.monotonic() - turns_start_s
        records = {}
        # The head first, which is seldom far slower: while one drains the other stands still, and a server that wakes
        # up after some 5 s may close connections that it takes for idle.
        for checkout in (self.head, self.base):
            with self._blaming(checkout):
                records[checkout.name] = loads[checkout.name].finish()
        return records[self.base.name], records[self.head.name], turns_s

    def _measure_rate(self, ready: Mapping[str, PausableTarget], cell: Cell) -> tuple[BurstRecord, BurstRecord] | None:
        """Measure the base's rate for a cell whose load sets it, unless an earlier pair has.

        The head is loaded in the same way, so that both have done the same work when they are compared.

        Returns
        -------
        (BurstRecord, BurstRecord) or None
            The records of both arms, where an answer was wrong and the cell can't be loaded.
        """
        if cell in self.rates_per_s:
            return None
        rates = {}
        for checkout in (self.head, self.base):
            with self._blaming(checkout):
                rates[checkout.name] = ready[checkout.name].measure_rate(cell)
        base, head = rates[self.base.name], rates[self.head.name]
        if base is None or head is None:
            return None
        if base.failures or head.failures:
            return unmeasured_record(base.answers, base.failures), unmeasured_record(head.answers, head.failures)
        self.rates_per_s[cell] = base.per_s
        return None

    def _alternate(self, blocks: int) -> Iterator[Checkout]:
        for turn in "".join(balanced_blocks(blocks, self.order)):
            yield self.base if turn == "A" else self.head

    @contextmanager
    def _blaming(self, checkout: Checkout) -> Iterator[None]:
        """Turn an error of the base into a ReferenceCheckoutError: the head is not to blame."""
        try:
            yield
        except ServegateError as error:
            if checkout is self.base:
                raise ReferenceCheckoutError(f"the base can't be measured: {error}") from error
            raise


def wait_for_all(launched: Mapping[str, LaunchedProcess]) -> dict[str, BaseException]:
    """Wait for processes that start at the same time, each in a thread, so that each knows how long it took.

    Returns
    -------
    dict
        The failures by the process's name. An interrupted wait leaves its threads to end with the processes.
    """
    failures: dict[str, BaseException] = {}

    def wait(name: str, process: LaunchedProcess) -> None:
        try:
            process.wait_until_ready()
        except BaseException as error:
            failures[name] = error

    threads = [
        threading.Thread(target=wait, args=item, name=f"{item[0]} starts", daemon=True) for item in launched.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures

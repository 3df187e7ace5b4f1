"""The gate measures and judges all targets when the first test asks, and then gives each test its cell's result."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from servegate.errors import CheckoutError, NothingToCompareError, ReferenceCheckoutError
from servegate.judging.arms import find_fallback
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GroupFigure
from servegate.judging.figures.result import FigureResult
from servegate.judging.screen import screen_group
from servegate.measure.process_by_process import measure_group
from servegate.measure.side_by_side import Compared
from servegate.measure.targets import Conditions, MeasurementTarget, SessionServers
from servegate.options.settings import Settings
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Checkout, Sample, Status, Verdict
from servegate.session.outcomes import confirm, excuse_base, explain_missing_base, inform, is_unclear, leave_unjudged
from servegate.session.put_beside import put_beside
from servegate.session.run_results import RunResults
from servegate.session.selection import Selection
from servegate.storage.baselines import Baseline
from servegate.storage.commits import find_equivalent
from servegate.telemetry.outside_load import OutsideLoad

_FAILING = frozenset({Status.REGRESSED, Status.SLOW, Status.INVALID, Status.BASE_FAILED})
_FAILING_STRICT = _FAILING | {Status.INCONCLUSIVE, Status.NO_BASELINE}
# The run ends at once with these, whatever else is to be measured.
_ENDS_THE_RUN = (KeyboardInterrupt, SystemExit, pytest.exit.Exception)

# Gives the value of a fixture of the test that asks.
GetFixture = Callable[[str], ServerProcess]


class CellFailedError(AssertionError):
    """The verdict on a cell, or on a figure of a group, fails its test."""

    def __init__(self, cell: Cell | GroupFigure, verdict: Verdict) -> None:
        super().__init__(f"{cell} {verdict.status}: {verdict.reason}")
        self.cell = cell
        self.verdict = verdict


@dataclass
class Gate:
    """State of one run.

    Attributes
    ----------
    baseline:
        None when there is none for this class of machine, or nothing is judged.
    reference:
        The commit that every judged cell is compared with side by side, without a look at stored figures; None where
        the stored baseline screens.
    progress:
        Called with a line of text whenever something new begins.
    selection:
        The targets, cells and figures that this run measures, and the policies by which it judges them.
    results:
        The results of this run so far.
    outside:
        The measurement of the CPU time that other programs use.
    """

    selection: Selection
    baseline: Baseline | None
    progress: Callable[[str], None]
    reference: str | None = None
    outside: OutsideLoad = field(default_factory=OutsideLoad)
    results: RunResults = field(init=False)
    _servers: SessionServers = field(default_factory=SessionServers)
    _start_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.results = RunResults(self.selection)

    @property
    def settings(self) -> Settings:
        """The settings of this run."""
        return self.selection.settings

    def measure(self, target: MeasurementTarget, cell: Cell, get_fixture: GetFixture) -> CellResult:
        """The cell's result; the first call for a judged target measures and judges them all.

        Raises
        ------
        ServegateError
            When measuring the target failed; the same for each of its cells.
        """
        self._require(target, get_fixture, is_measured=cell in self.results.cells)
        return self.results.cells[cell]

    def judge(self, target: MeasurementTarget, figure: GroupFigure, get_fixture: GetFixture) -> FigureResult:
        """The verdict on a figure of a target's group; the first call measures, and errors are raised, as in `measure`.

        A figure without a verdict wasn't compared, as where the base has no service. Where a cell of its group fails,
        as after a wrong answer, the figure has the cell's verdict: it says nothing of a service that doesn't work. At a
        rate that the load sets, it has that verdict even if it was judged before: no other test may report the cell.
        """
        self._require(target, get_fixture, is_measured=bool(self.results.of(target)))
        return self.results.judge(target, figure, self.failing)

    def begin(self) -> None:
        """Count the time budget, and what others use of the machine, from now on."""
        self.outside = OutsideLoad()
        self._start_s = time.monotonic()

    def _require(self, target: MeasurementTarget, get_fixture: GetFixture, *, is_measured: bool) -> None:
        if not is_measured and target.name not in self.results.errors:
            if self.selection.is_judged(target):
                self._measure_judged(get_fixture)
                self.results.apply_latency_limits(self.selection.judged)
            else:
                self._measure([target], get_fixture)
                self.results.apply_latency_limits([target])
        if target.name in self.results.errors:
            raise self.results.errors[target.name]

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return _FAILING_STRICT if self.settings.judging.is_strict else _FAILING

    @property
    def sentence(self) -> str:
        """The run's findings so far in one sentence; at least one cell was measured."""
        return self.results.describe(self.failing, self.outside.found)

    def _measure_judged(self, get_fixture: GetFixture) -> None:
        targets = self.selection.judged
        try:
            if self.reference is not None:
                self._compare(targets, self.reference, get_fixture)
            else:
                self._measure(targets, get_fixture)
                self._confirm([target for target in targets if any(map(is_unclear, self.results.of(target)))])
        except _ENDS_THE_RUN:
            raise
        # A comparison that failed as a whole would fail again, whatever it was, pytest.fail and its like among it.
        except BaseException as error:
            for target in targets:
                self.results.errors.setdefault(target.name, error)
        self.results.allow(targets)

    def _measure(self, targets: Sequence[MeasurementTarget], get_fixture: GetFixture) -> None:
        """Measure targets process by process, and judge them by the stored baseline."""
        for target in targets:
            try:
                self._measure_target(target, get_fixture)
            except _ENDS_THE_RUN:
                raise
            # Measuring again would meet it again, whatever it was; pytest.fail and its like are no Exception.
            except BaseException as error:
                self.results.errors[target.name] = error

    def _measure_target(self, target: MeasurementTarget, get_fixture: GetFixture) -> None:
        measuring = self.settings.measuring
        conditions = Conditions(
            head=Checkout.working_tree(self.settings.root),
            warmup_s=measuring.warmup_seconds,
            engine=measuring.engine,
            deployed=measuring.deployed,
            session_server=lambda fixture: self._servers.fresh(fixture, get_fixture),
        )
        measurement = measure_group(
            target,
            self.selection.cells_of(target),
            conditions,
            processes=1 if self.settings.judging.versus is not None else measuring.processes,
            seconds=measuring.seconds,
            progress=self.progress,
            watch=self.outside.watch,
        )
        self.results.details.update(measurement.details)
        fallback = find_fallback(measurement.details)
        for cell, verdict in self._screen(target, measurement.samples).items():
            if fallback is not None:
                verdict = Verdict(Status.INVALID, f"it runs otherwise than intended: {fallback}")
            self.results.keep(target, cell, measurement.samples[cell], verdict)

    def _screen(self, target: MeasurementTarget, samples: Mapping[Cell, Sequence[Sample]]) -> dict[Cell, Verdict]:
        stored: Mapping[str, Sequence[float]] = self.baseline.throughput_per_s if self.baseline else {}
        verdicts = screen_group(self.selection.policy, stored, samples)
        if target.name in self.settings.informing or target.rate_is_given:
            wrong = {cell for cell in samples if any(sample.failures for sample in samples[cell])}
            return {cell: inform(verdict, is_wrong=cell in wrong) for cell, verdict in verdicts.items()}
        if not self.settings.judging.is_judged:
            return {cell: leave_unjudged(verdict) for cell, verdict in verdicts.items()}
        return verdicts

    def _confirm(self, targets: Sequence[MeasurementTarget]) -> None:
        """Compare with the baseline's commit side by side; where that can't be done, the screen decides."""
        if not (targets and self.settings.judging.confirm and self.baseline is not None):
            return
        project = self.settings.project
        screened = [
            result
            for target in targets
            for result in self.results.of(target)
            if result.verdict.change is not None or result.verdict.status is Status.NO_BASELINE
        ]
        try:
            reference = find_equivalent(self.settings.root, self.baseline.checkout, project.service, project.lock)
        except CheckoutError as error:
            compared = _nothing_compared(targets, ReferenceCheckoutError(str(error)))
        else:
            compared = self._put_beside(targets, [result.cell for result in screened], reference)
        for target in targets:
            if not isinstance(compared.errors.get(target.name), ReferenceCheckoutError):
                self.results.take(target, compared)
        for before in screened:
            failure = compared.errors.get(before.cell.group)
            self.results.update([confirm(before, self.results.cells[before.cell], failure)])

    def _compare(self, targets: Sequence[MeasurementTarget], reference: str, get_fixture: GetFixture) -> None:
        """Judge targets side by side with another commit, and by nothing else."""
        compared = self._put_beside(targets, self.selection.cells, reference)
        for target in targets:
            failure = compared.errors.get(target.name)
            if isinstance(failure, ReferenceCheckoutError):
                self._keep_without_base(target, failure, get_fixture)
            else:
                self.results.take(target, compared)
        if self.settings.judging.versus is None:
            self.results.update([excuse_base(result) for result in self.results.cells.values()])

    def _keep_without_base(
        self, target: MeasurementTarget, failure: ReferenceCheckoutError, get_fixture: GetFixture
    ) -> None:
        """A comparison that was asked for and did not happen fails the run; else the working tree is measured alone."""
        is_first = isinstance(failure, NothingToCompareError)
        if is_first or self.settings.judging.versus is not None:
            verdict = Verdict(Status.NOT_JUDGED if is_first else Status.BASE_FAILED, str(failure))
            for cell in self.selection.cells_of(target):
                self.results.keep(target, cell, (), verdict)
            return
        self._measure([target], get_fixture)
        self.results.update([explain_missing_base(result, failure) for result in self.results.of(target)])

    def _put_beside(self, targets: Sequence[MeasurementTarget], cells: Sequence[Cell], reference: str) -> Compared:
        self._servers.stop()
        self.progress(f"{reference[:12]} is put beside the working tree")
        end_s = self._start_s + self.settings.judging.budget_s
        chosen = [(target, [cell for cell in cells if cell.group == target.name]) for target in targets]
        try:
            return put_beside(
                self.settings,
                reference,
                chosen,
                (self.selection.policy, self.selection.figure_policy),
                end_s,
                self.progress,
                self.outside.watch,
            )
        except ReferenceCheckoutError as error:
            return _nothing_compared(targets, error)


def _nothing_compared(targets: Sequence[MeasurementTarget], error: ReferenceCheckoutError) -> Compared:
    """A comparison for which the other commit could not be had."""
    return Compared({}, (), {target.name: error for target in targets})

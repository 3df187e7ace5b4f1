"""What a run measures and judges: a group when its first test asks, and then each cell's own result."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.judging.cell_result import CellResult
from servegate.judging.group_result import GroupResult
from servegate.judging.judge import Policy, judge
from servegate.judging.sentence import describe_findings
from servegate.judging.slowing import describe_slowing
from servegate.measure.process_by_process import measure_group
from servegate.measure.side_by_side import SideBySide
from servegate.measure.targets import Conditions, MeasurementTarget, SessionServers
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Checkout, Sample, Status, Verdict
from servegate.session.settings import Settings
from servegate.storage.baselines import Baseline
from servegate.storage.commits import export_commit, find_equivalent
from servegate.storage.environments import environment_python

# Verdicts of the stored baseline that must be confirmed side by side.
_UNCLEAR = frozenset({Status.REGRESSED, Status.INCONCLUSIVE})
_FAILING = frozenset({Status.REGRESSED, Status.INVALID})
_FAILING_STRICT = _FAILING | {Status.INCONCLUSIVE, Status.NO_BASELINE}

# Gives the value of a fixture of the test that asks.
GetFixture = Callable[[str], ServerProcess]


class CellFailedError(AssertionError):
    """A cell's verdict fails its test."""

    def __init__(self, cell: Cell, verdict: Verdict) -> None:
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
    progress:
        Called with a line of text whenever something new begins.
    selected:
        The cells whose tests were collected.
    results:
        By cell, of the groups that were measured.
    groups:
        By name, of those that were compared side by side.
    details:
        What the measured processes said of themselves.
    arms:
        The same of `base` and `head` where they were compared side by side.
    """

    settings: Settings
    baseline: Baseline | None
    progress: Callable[[str], None]
    selected: Sequence[Cell] = ()
    results: dict[Cell, CellResult] = field(default_factory=dict)
    groups: dict[str, GroupResult] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    arms: dict[str, dict[str, str]] = field(default_factory=dict)
    _errors: dict[str, BaseException] = field(default_factory=dict)
    _servers: SessionServers = field(default_factory=SessionServers)
    _start_s: float = field(default_factory=time.monotonic)

    def measure(self, target: MeasurementTarget, cell: Cell, get_fixture: GetFixture) -> CellResult:
        """The cell's result; the first call for a target measures and judges all its selected cells.

        Raises
        ------
        ServegateError
            When measuring the target failed; the same for each of its cells.
        """
        if target.name in self._errors:
            raise self._errors[target.name]
        if cell not in self.results:
            try:
                self._measure(target, get_fixture)
            # Measuring again would meet it again, whatever it was; pytest.fail and its like are no Exception.
            except BaseException as error:
                self._errors[target.name] = error
                raise
            self._describe_slowing(target)
        return self.results[cell]

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return _FAILING_STRICT if self.settings.judging.is_strict else _FAILING

    @property
    def sentence(self) -> str:
        """What the run has found so far; it has measured a cell at least."""
        groups, cells = list(self.groups.values()), list(self.results.values())
        return describe_findings(groups, cells, arms=self.arms, failing=self.failing)

    def _measure(self, target: MeasurementTarget, get_fixture: GetFixture) -> None:
        cells, versus = [cell for cell in self.selected if cell.group == target.name], self.settings.judging.versus
        if versus is not None and target.name not in self.settings.informing:
            try:
                self._compare(target, cells, versus)
            except ReferenceCheckoutError as error:
                for cell in cells:
                    self._keep(target, cell, (), Verdict(Status.NO_BASELINE, str(error)))
            return
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
            cells,
            conditions,
            processes=1 if versus is not None else measuring.processes,
            seconds=measuring.seconds,
            progress=self.progress,
        )
        self.details.update(measurement.details)
        for cell, samples in measurement.samples.items():
            self._keep(target, cell, samples, self._screen(cell, samples))
        unclear = [cell for cell in cells if self.results[cell].verdict.status in _UNCLEAR]
        if unclear and self.settings.judging.confirm:
            self._confirm(target, unclear)

    def _keep(self, target: MeasurementTarget, cell: Cell, samples: Sequence[Sample], verdict: Verdict) -> None:
        ceiling = None if target.ceiling is None else target.ceiling.name
        self.results[cell] = CellResult(
            cell, target.unit, samples, verdict, ceiling=ceiling, rate_is_given=target.rate_is_given
        )

    def _describe_slowing(self, target: MeasurementTarget) -> None:
        for cell, result in self.results.items():
            slowing = describe_slowing(result.samples) if cell.group == target.name else None
            if slowing and result.verdict.status in _UNCLEAR:
                reason = f"{result.verdict.reason}; {slowing}"
                self.results[cell] = replace(result, verdict=replace(result.verdict, reason=reason))

    def _screen(self, cell: Cell, samples: Sequence[Sample]) -> Verdict:
        stored: Mapping[str, Sequence[float]] = self.baseline.throughput_per_s if self.baseline else {}
        verdict = judge(self._policy, stored.get(str(cell)), samples)
        if cell.group in self.settings.informing:
            wrong = any(sample.failures for sample in samples)
            return verdict if wrong else replace(verdict, status=Status.INFORMS)
        if verdict.status is not Status.NO_BASELINE or self.settings.judging.is_judged:
            return verdict
        return Verdict(Status.NOT_JUDGED, "run with --benchmark-compare to judge", now_per_s=verdict.now_per_s)

    def _confirm(self, target: MeasurementTarget, cells: Sequence[Cell]) -> None:
        """Compare the cells with the baseline's commit side by side; where that can't be done, the screen decides."""
        assert self.baseline is not None, "without a baseline nothing is unclear"
        screened, project = {cell: self.results[cell] for cell in cells}, self.settings.project
        try:
            reference = find_equivalent(self.settings.root, self.baseline.checkout, project.service, project.lock)
            self._compare(target, cells, reference)
        except (ReferenceCheckoutError, CheckoutError) as error:
            for cell, result in screened.items():
                evidence = (*result.verdict.evidence, f"not confirmed side by side: {error}")
                self.results[cell] = replace(result, verdict=replace(result.verdict, evidence=evidence))
            return
        for cell, result in screened.items():
            compared = self.results[cell]
            reason = compared.verdict.reason
            if compared.verdict.status is Status.PASS and result.verdict.status is Status.REGRESSED:
                reason += "; the machine is slower today than when the baseline was stored"
            verdict = replace(compared.verdict, reason=reason)
            # Without a pair, as when the run's time is over, the screen's samples are all that there is.
            self.results[cell] = replace(compared if compared.pairs else result, verdict=verdict)

    def _compare(self, target: MeasurementTarget, cells: Sequence[Cell], reference: str) -> None:
        """Judge the cells side by side with another commit."""
        settings, judging, project = self.settings, self.settings.judging, self.settings.project
        self._servers.stop()
        self.progress(f"{target.name}: {reference[:12]} is put beside the working tree")
        with export_commit(settings.root, reference) as folder:
            python = environment_python(settings.root, folder, project.lock, same=project.same_env)
            side_by_side = SideBySide(
                Checkout("base", folder, python),
                Checkout.working_tree(settings.root),
                judging.schedule,
                progress=lambda text: self.progress(f"{target.name}: {text}"),
            )
            left_s = self._start_s + judging.budget_s - time.monotonic()
            compared = side_by_side.compare(target, cells, self._policy, left_s)
        for cell, comparison in compared.items():
            samples = [pair.head for pair in comparison.pairs]
            self._keep(target, cell, samples, comparison.verdict)
            self.results[cell] = replace(self.results[cell], pairs=comparison.pairs)

    @property
    def _policy(self) -> Policy:
        gated = [cell for cell in self.selected if cell.group not in self.settings.informing]
        return self.settings.judging.policy(gated_cells=max(1, len(gated)))

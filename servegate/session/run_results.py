"""The results of a run so far: what it measured, and its verdicts on cells, groups and figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from servegate.findings.sentence import describe_findings
from servegate.judging.absolute.latency_limits import hold_to_limits
from servegate.judging.arms import PairReport, collect_details
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GroupFigure
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.judging.pairs import PairFigure
from servegate.judging.slow_answers import with_common_limit
from servegate.measure.side_by_side import Compared
from servegate.measure.targets import MeasurementTarget
from servegate.records import Cell, MachineLoad, Sample, Status, Verdict
from servegate.session.allowances import allow_cells, allow_figures, allow_groups
from servegate.session.outcomes import tell_slowing
from servegate.session.selection import Selection

# A cell with one of these verdicts leaves its group's figures without their own.
_NO_FIGURES = frozenset({Status.INVALID, Status.BASE_FAILED, Status.INCONCLUSIVE})


@dataclass
class RunResults:
    """The results of a run so far.

    Attributes
    ----------
    selection:
        The cells and figures that the run measures and judges.
    cells:
        The result of each cell that was measured.
    groups:
        The groups that were compared side by side.
    figures:
        The figures that were judged side by side.
    details:
        The details that the measured processes reported.
    reports:
        The report of what the two arms ran, for each pair; empty if nothing was compared side by side.
    errors:
        The error of each target that could not be measured, by the target's name.
    is_out_of_time:
        Whether the time budget ended a comparison that would have gone on.
    """

    selection: Selection
    cells: dict[Cell, CellResult] = field(default_factory=dict)
    groups: list[GroupResult] = field(default_factory=list)
    figures: dict[GroupFigure, FigureResult] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    reports: Sequence[PairReport] = ()
    errors: dict[str, BaseException] = field(default_factory=dict)
    is_out_of_time: bool = False

    @property
    def failures(self) -> Mapping[str, BaseException]:
        """The errors that fail tests; a skipped test of a target fails none."""
        return {name: error for name, error in self.errors.items() if not isinstance(error, pytest.skip.Exception)}

    def of(self, target: MeasurementTarget) -> list[CellResult]:
        """The results of a target's cells."""
        return [self.cells[cell] for cell in self.selection.cells_of(target) if cell in self.cells]

    def keep(
        self,
        target: MeasurementTarget,
        cell: Cell,
        samples: Sequence[Sample],
        verdict: Verdict,
        *,
        bases: Sequence[Sample] = (),
        pairs: Sequence[PairFigure] = (),
    ) -> None:
        """Keep what was found of one cell; see `CellResult`."""
        self.cells[cell] = CellResult(
            cell,
            target.unit,
            samples,
            verdict,
            pairs,
            bases,
            ceiling=None if target.ceiling is None else target.ceiling.name,
            rate_is_given=target.rate_is_given,
            excludes=self.selection.policy.of_cell(cell).excluded if verdict.change is not None else None,
        )

    def update(self, results: Iterable[CellResult]) -> None:
        """Keep these in place of the same cells' results."""
        self.cells.update({result.cell: result for result in results})

    def take(self, target: MeasurementTarget, compared: Compared) -> None:
        """Keep what a comparison found of a target."""
        self.reports, self.is_out_of_time = compared.reports, compared.is_out_of_time
        if target.name in compared.errors:
            self.errors[target.name] = compared.errors[target.name]
            return
        self.groups += [group for group in compared.groups if group.name == target.name]
        self.figures.update({found.figure: found for found in compared.figures if found.figure.group == target.name})
        for cell, comparison in compared.cells.items():
            if cell.group == target.name:
                pairs, verdict = comparison.pairs, comparison.verdict
                bases, heads = [pair.base for pair in pairs], [pair.head for pair in pairs]
                self.keep(target, cell, heads, verdict, bases=bases, pairs=pairs)
        for cell, found in compared.at_given_rate.items():
            if cell.group == target.name:
                self.keep(target, cell, found.heads, found.verdict, bases=found.bases)

    def allow(self, targets: Sequence[MeasurementTarget]) -> None:
        """Apply the run's allowances to targets that were just judged."""
        allowances = self.selection.allowances
        self.groups = allow_groups(allowances, self.groups)
        self.figures = {result.figure: result for result in allow_figures(allowances, self.figures.values())}
        judged = [tell_slowing(result) for target in targets for result in self.of(target)]
        self.update(allow_cells(allowances, self.groups, judged))

    def apply_latency_limits(self, targets: Sequence[MeasurementTarget]) -> None:
        """Hold targets that were just measured to the user's limits, of which groups that inform have none."""
        settings = self.selection.settings
        for result in (result for target in targets for result in self.of(target)):
            if result.cell.group not in settings.informing:
                result = hold_to_limits(result, settings.judging.latency_limits)
            self.cells[result.cell] = with_common_limit(result)

    def judge(self, target: MeasurementTarget, figure: GroupFigure, failing: frozenset[Status]) -> FigureResult:
        """The verdict on a figure of a target's group, or that of a cell that leaves the figure without one.

        Parameters
        ----------
        failing:
            The verdicts that fail a test in this run.
        """
        found = self.figures.get(figure) or FigureResult(
            figure, Verdict(Status.NOT_JUDGED, "nothing was compared"), 0.0
        )
        if found.verdict.status is Status.NOT_JUDGED or target.rate_is_given:
            # A slow answer says nothing of a figure, but no other test may report the cell.
            reported = _NO_FIGURES | {Status.SLOW} if target.rate_is_given else _NO_FIGURES
            unjudged = [result for result in self.of(target) if result.verdict.status in reported]
            failed = next((result for result in unjudged if result.verdict.status in failing), None)
            if failed is not None:
                reason = f"{failed.cell} {failed.verdict.status}: {failed.verdict.reason}"
                found = replace(found, verdict=Verdict(failed.verdict.status, reason))
        return found

    def describe(self, failing: frozenset[Status], load: MachineLoad | None) -> str:
        """Tell the findings so far in one sentence; at least one cell was measured."""
        return describe_findings(
            self.groups,
            list(self.cells.values()),
            list(self.figures.values()),
            arms=collect_details(self.reports),
            failing=failing,
            load=load,
            errors=self.failures,
            is_out_of_time=self.is_out_of_time,
        )

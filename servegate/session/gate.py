"""One run of the gate: measures and judges a group when its first test asks; each test then reports its own cell."""

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from servegate.errors import CheckoutError, ReferenceCheckoutError
from servegate.judging.cell_result import CellResult
from servegate.judging.judge import Policy, judge
from servegate.judging.slowing import describe_slowing
from servegate.measure.process_by_process import measure_group
from servegate.measure.side_by_side import compare_cells
from servegate.measure.targets import Group
from servegate.records import Cell, Checkout, Sample, Status, Verdict
from servegate.session.settings import GateSettings
from servegate.storage.baselines import Baseline
from servegate.storage.checkouts import environment_python, export_commit, find_equivalent

# What a screen by the stored baseline alone neither clears nor may accuse.
_UNCLEAR = frozenset({Status.REGRESSED, Status.INCONCLUSIVE})
_FAILING = frozenset({Status.REGRESSED, Status.INVALID})
_FAILING_STRICT = _FAILING | {Status.INCONCLUSIVE, Status.NO_BASELINE}


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
    selected:
        The cells whose tests were collected.
    results:
        By cell, of the groups that were measured.
    details:
        What the measured processes said of themselves.
    """

    settings: GateSettings
    baseline: Baseline | None
    progress: Callable[[str], None]
    selected: Sequence[Cell] = ()
    results: dict[Cell, CellResult] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    _errors: dict[str, Exception] = field(default_factory=dict)

    def result(self, group: Group, cell: Cell) -> CellResult:
        """The cell's result; the first call for a group measures all its selected cells.

        Raises
        ------
        ServegateError
            When measuring the group failed; the same for each of its cells.
        """
        if group.name in self._errors:
            raise self._errors[group.name]
        if cell not in self.results:
            try:
                self._measure(group)
            except Exception as error:  # whatever it was, measuring again would meet it again
                self._errors[group.name] = error
                raise
            self._tell_slowing(group)
        return self.results[cell]

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return _FAILING_STRICT if self.settings.strict else _FAILING

    def fails(self, verdict: Verdict) -> bool:
        """Whether the verdict fails its test in this run."""
        return verdict.status in self.failing

    def _measure(self, group: Group) -> None:
        cells = [cell for cell in self.selected if cell.group == group.name]
        if self.settings.versus is not None and group.name not in self.settings.informing:
            try:
                self._compare(group, cells, self.settings.versus)
            except ReferenceCheckoutError as error:
                for cell in cells:
                    self.results[cell] = CellResult(cell, group.unit, (), Verdict(Status.NO_BASELINE, str(error)))
            return
        # Beside a comparison side by side what informs has no baseline: one process shows its level.
        measurement = measure_group(
            group,
            cells,
            processes=1 if self.settings.versus is not None else self.settings.processes,
            seconds=self.settings.seconds,
            progress=self.progress,
        )
        self.details.update(measurement.details)
        for cell, samples in measurement.samples.items():
            self.results[cell] = CellResult(cell, group.unit, samples, self._screen(cell, samples))
        accused = [cell for cell in cells if self.results[cell].verdict.status in _UNCLEAR]
        if accused and self.settings.confirm:
            self._confirm(group, accused)

    def _tell_slowing(self, group: Group) -> None:
        for cell, result in self.results.items():
            slowing = describe_slowing(result.samples) if cell.group == group.name else None
            if slowing and result.verdict.status in _UNCLEAR:
                reason = f"{result.verdict.reason}; {slowing}"
                self.results[cell] = replace(result, verdict=replace(result.verdict, reason=reason))

    def _screen(self, cell: Cell, samples: Sequence[Sample]) -> Verdict:
        stored: Mapping[str, Sequence[float]] = self.baseline.throughput_per_s if self.baseline else {}
        verdict = judge(self._policy, stored.get(str(cell)), samples)
        if cell.group in self.settings.informing:
            wrong = any(sample.failures for sample in samples)
            return verdict if wrong else replace(verdict, status=Status.INFORMS)
        if verdict.status is not Status.NO_BASELINE or self.settings.judged:
            return verdict
        return Verdict(Status.NOT_JUDGED, "run with --benchmark-compare to judge", now_per_s=verdict.now_per_s)

    def _confirm(self, group: Group, cells: Sequence[Cell]) -> None:
        """What the screen can't clear is compared side by side with the baseline's commit; else the screen decides."""
        assert self.baseline is not None, "without a baseline nothing is unclear"
        screened = {cell: self.results[cell] for cell in cells}
        try:
            reference = find_equivalent(
                self.settings.root, self.baseline.checkout, self.settings.service, self.settings.lock
            )
            self._compare(group, cells, reference)
        except (ReferenceCheckoutError, CheckoutError) as error:
            for cell, result in screened.items():
                evidence = (*result.verdict.evidence, f"not confirmed side by side: {error}")
                self.results[cell] = replace(result, verdict=replace(result.verdict, evidence=evidence))
            return
        for cell, result in screened.items():
            compared = self.results[cell].verdict
            reason = compared.reason
            if compared.status is Status.PASS and result.verdict.status is Status.REGRESSED:
                reason += "; the machine is slower today than when the baseline was stored"
            self.results[cell] = replace(result, verdict=replace(compared, reason=reason))

    def _compare(self, group: Group, cells: Sequence[Cell], reference: str) -> None:
        """Judge the cells side by side with another commit."""
        if group.launch_arm is None:
            raise ReferenceCheckoutError(f"the group {group.name!r} can't start another checkout")
        settings = self.settings
        group.release()
        self.progress(f"{group.name}: {reference[:12]} is put beside the working tree")
        with export_commit(settings.root, reference) as folder:
            python = environment_python(settings.root, folder, settings.lock, same=settings.same_env)
            compared = compare_cells(
                group.launch_arm,
                Checkout("base", folder, python),
                Checkout("head", settings.root, sys.executable),
                cells,
                self._policy,
                settings.schedule,
                random.Random(),
                lambda text: self.progress(f"{group.name}: {text}"),
            )
        for cell, comparison in compared.items():
            head = [pair.head for pair in comparison.pairs]
            self.results[cell] = CellResult(cell, group.unit, head, comparison.verdict, comparison.pairs)

    @property
    def _policy(self) -> Policy:
        gated = [cell for cell in self.selected if cell.group not in self.settings.informing]
        return self.settings.policy(gated_cells=max(1, len(gated)))

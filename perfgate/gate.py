"""One run of the gate: measures and judges a group when its first test asks; each test then reports its own cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from perfgate.baselines import Baseline
from perfgate.errors import PerfgateError
from perfgate.judge import judge
from perfgate.measure import Group, measure_group
from perfgate.records import Cell, Sample, Status, Verdict
from perfgate.settings import GateSettings

_FAILING = frozenset({Status.REGRESSED, Status.INVALID})
_FAILING_STRICT = _FAILING | {Status.INCONCLUSIVE, Status.NO_BASELINE}


class CellFailedError(AssertionError):
    """A cell's verdict fails its test."""

    def __init__(self, cell: Cell, verdict: Verdict) -> None:
        super().__init__(f"{cell} {verdict.status}: {verdict.reason}")
        self.cell = cell
        self.verdict = verdict


@dataclass(frozen=True)
class CellResult:
    """What a cell measured and what was judged of it."""

    cell: Cell
    unit: str
    samples: Sequence[Sample]
    verdict: Verdict


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
    _errors: dict[str, PerfgateError] = field(default_factory=dict)

    def result(self, group: Group, cell: Cell) -> CellResult:
        """The cell's result; the first call for a group measures all its selected cells.

        Raises
        ------
        PerfgateError
            When measuring the group failed; the same for each of its cells.
        """
        if group.name in self._errors:
            raise self._errors[group.name]
        if cell not in self.results:
            try:
                self._measure(group)
            except PerfgateError as error:
                self._errors[group.name] = error
                raise
        return self.results[cell]

    def fails(self, verdict: Verdict) -> bool:
        """Whether the verdict fails its test in this run."""
        return verdict.status in (_FAILING_STRICT if self.settings.strict else _FAILING)

    def _measure(self, group: Group) -> None:
        cells = [cell for cell in self.selected if cell.group == group.name]
        measurement = measure_group(
            group,
            cells,
            processes=self.settings.processes,
            seconds=self.settings.seconds,
            progress=self.progress,
        )
        self.details.update(measurement.details)
        for cell, samples in measurement.samples.items():
            self.results[cell] = CellResult(cell, group.unit, samples, self._judge(cell, samples))

    def _judge(self, cell: Cell, samples: Sequence[Sample]) -> Verdict:
        policy = self.settings.policy(gated_cells=len(self.selected))
        stored: Mapping[str, Sequence[float]] = self.baseline.throughput_per_s if self.baseline else {}
        verdict = judge(policy, stored.get(str(cell)), samples)
        if verdict.status is not Status.NO_BASELINE or self.settings.judged:
            return verdict
        return Verdict(Status.NOT_JUDGED, "run with --benchmark-compare to judge", now_per_s=verdict.now_per_s)

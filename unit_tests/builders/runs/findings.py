"""Groups and cells as a comparison side by side judges them, each in one line of a test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import START, FigureKind, GroupFigure
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.judging.pairs import PairFigure
from servegate.records import Cell, Change, Sample, StageTime, Status, Verdict
from unit_tests.builders.runs.samples import make_sample

# What a request takes in each stage: (ms, CPU ms).
STAGES: Mapping[str, tuple[float, float | None]] = {
    "decode": (2.0, 1.9),
    "queue": (1.0, None),
    "predict": (5.0, 4.0),
}


def make_pairs(
    head_by_pair: Sequence[Mapping[str, float]], *, per_s: tuple[float, float] = (100.0, 100.0)
) -> list[PairFigure]:
    """Pairs whose head takes so many times the base's time, and CPU time, in a stage; one mapping a pair.

    A request takes 10 ms; what no stage accounts for is the same in both arms.
    """
    return [
        PairFigure(0.0, (0.0, 0.01), _make_staged({}, per_s[0]), _make_staged(factors, per_s[1]), 1.0)
        for factors in head_by_pair
    ]


def _make_staged(factors: Mapping[str, float], per_s: float) -> Sample:
    stages = {
        name: StageTime(ms * factors.get(name, 1.0), None if cpu_ms is None else cpu_ms * factors.get(name, 1.0))
        for name, (ms, cpu_ms) in STAGES.items()
    }
    made = make_sample(per_s)
    assert made.telemetry is not None
    mean_ms = 2.0 + sum(stage.ms for stage in stages.values())
    core_ms = 5.0 + sum(stage.cpu_ms or 0.0 for stage in stages.values())
    return replace(
        made,
        stages=stages,
        latency=replace(made.latency, mean_ms=mean_ms),
        telemetry=replace(made.telemetry, cpu_cores=core_ms * made.mean_throughput_per_s / 1e3),
    )


def make_cell(
    group: str = "api",
    value: int = 1,
    status: Status = Status.PASS,
    change: Sequence[float] | None = None,
    *,
    reason: str = "the reason",
    pairs: Sequence[PairFigure] = (),
    excludes: float | None = 0.10,
    parameter: str = "load",
) -> CellResult:
    """A cell with its verdict; `change` is (estimate, low, high)."""
    verdict = Verdict(status, reason, 100.0, 100.0, Change(*change) if change else None, ("line of evidence",))
    samples = [pair.head for pair in pairs] or [make_sample()]
    bases = [pair.base for pair in pairs]
    return CellResult(Cell(group, parameter, value), "requests", samples, verdict, pairs, bases, excludes=excludes)


def make_group(
    name: str = "api",
    status: Status = Status.PASS,
    change: Sequence[float] = (0.001, -0.008, 0.010),
    *,
    values: Sequence[int] = (1,),
    reason: str = "the reason",
    excludes: float = 0.03,
    excluded: float = 0.012,
    pair_spread: float = 0.009,
    parameter: str = "load",
) -> GroupResult:
    """A group of cells that `make_cell` makes of these values."""
    verdict = Verdict(status, reason, change=Change(*change), evidence=("line of evidence",))
    cells = tuple(Cell(name, parameter, value) for value in values)
    return GroupResult(name, verdict, 0.02, excludes, cells, 3, pair_spread, excluded)


def make_figure(
    kind: FigureKind = START,
    status: Status = Status.PASS,
    change: Sequence[float] | None = (0.01, -0.02, 0.04),
    *,
    group: str = "api",
    reason: str = "the reason",
) -> FigureResult:
    """A figure of four pairs; `change` is (estimate, low, high)."""
    return FigureResult(
        GroupFigure(group, kind),
        Verdict(status, reason, evidence=("line of evidence",)),
        margin=kind.margin * kind.scale,
        change=Change(*change) if change else None,
        excluded=max(change) if change else None,
        base=(6.0, 6.1, 6.2, 6.3) if change else (),
        head=(6.2, 6.3, 6.4, 6.5) if change else (),
    )

"""The result of a run for one cell."""

from collections.abc import Sequence
from dataclasses import dataclass

from servegate.judging.pairs import PairFigure
from servegate.records import Cell, Sample, Verdict


@dataclass(frozen=True)
class Comparison:
    """The verdict of a cell from a comparison side by side, and the pairs that it is based on."""

    verdict: Verdict
    pairs: tuple[PairFigure, ...]


@dataclass(frozen=True)
class CellResult:
    """A cell's measurements and its verdict.

    Attributes
    ----------
    unit:
        The thing that throughput counts, as in `images`.
    samples, bases:
        One for each fresh process that measured the cell, and for each of the other checkout that was compared with it.
    pairs:
        The pairs of a comparison side by side; empty where there was none.
    ceiling:
        Name of the group whose best throughput bounds that of this cell's group; None where no group does.
    rate_is_given:
        Whether the load sets the rate. Throughput then shows the load, and not what the service can do.
    excludes:
        The slowdown that PASS excludes at 95 %, as a share of throughput; None where no such verdict was sought.
    slow_ms:
        The latency beyond which an answer is slow; None without one.
    """

    cell: Cell
    unit: str
    samples: Sequence[Sample]
    verdict: Verdict
    pairs: Sequence[PairFigure] = ()
    bases: Sequence[Sample] = ()
    ceiling: str | None = None
    rate_is_given: bool = False
    excludes: float | None = None
    slow_ms: float | None = None

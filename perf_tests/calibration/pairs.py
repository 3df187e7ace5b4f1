"""Recorded pairs of fresh processes: one JSON object a line, committed, so that the record grows run by run."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perf_tests.calibration.lines import append_line, read_lines
from perfgate.records import Sample
from perfgate.versus import PairFigure


@dataclass(frozen=True)
class CellPair:
    """One cell in one pair.

    Attributes
    ----------
    log_ratio:
        log(head / base), the gate's figure.
    blocks:
        The blocks' log ratios.
    base_per_s, head_per_s:
        Throughput in each burst.
    seconds:
        How long the cell took.
    """

    log_ratio: float
    blocks: tuple[float, ...]
    base_per_s: tuple[float, ...]
    head_per_s: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class PairRecord:
    """One pair.

    Attributes
    ----------
    kind:
        `same` for identical code, else as in `decode+10%`.
    service_tree:
        git's hash of the service that was measured.
    began:
        UTC, ISO 8601.
    burst_s, blocks:
        The schedule; pairs of different ones are different noise.
    seconds:
        How long each group took, with its starts.
    cells:
        By the cell's name.
    """

    kind: str
    service_tree: str
    began: str
    burst_s: float
    blocks: int
    seconds: Mapping[str, float]
    cells: Mapping[str, CellPair]


def compact(figure: PairFigure) -> CellPair:
    """A figure with as many digits as it has meaning."""
    return CellPair(
        log_ratio=round(figure.log_ratio, 5),
        blocks=tuple(round(block, 4) for block in figure.blocks if math.isfinite(block)),
        base_per_s=_rates(figure.base),
        head_per_s=_rates(figure.head),
        seconds=round(figure.seconds, 1),
    )


def _rates(sample: Sample) -> tuple[float, ...]:
    return tuple(float(f"{sample.units_per_round / seconds:.4g}") for seconds in sample.rounds_s)


def read_pairs(path: Path) -> list[PairRecord]:
    """All recorded pairs; see `read_lines`."""
    return [_pair(record) for record in read_lines(path)]


def append_pair(path: Path, pair: PairRecord) -> None:
    """Add a pair, after it was measured as a whole."""
    append_line(path, asdict(pair))


def _pair(record: dict[str, Any]) -> PairRecord:
    cells: dict[str, CellPair] = {}
    for name, cell in record.pop("cells").items():
        figures: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in cell.items()
        }
        cells[name] = CellPair(**figures)
    return PairRecord(**record, cells=cells)

"""Recorded pairs of fresh processes: one JSON object a line, committed, so that the record grows run by run."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perfgate.records import Cell, Sample
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
    seconds:
        How long each group took, with its starts.
    cells:
        By the cell's name.
    """

    kind: str
    service_tree: str
    began: str
    burst_s: float
    seconds: Mapping[str, float]
    cells: Mapping[str, CellPair]

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "PairRecord":
        """The inverse of `to_json`."""
        document = json.loads(line)
        cells: dict[str, CellPair] = {}
        for name, cell in document.pop("cells").items():
            figures: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in cell.items()
            }
            cells[name] = CellPair(**figures)
        return cls(**document, cells=cells)


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
    """All recorded pairs, oldest first; none without a file."""
    if not path.exists():
        return []
    return [PairRecord.from_json(line) for line in path.read_text().splitlines()]


def append_pair(path: Path, record: PairRecord) -> None:
    """Add a line, whole: it is written at once, and only after the pair was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(record.to_json() + "\n")


def parse_cell(name: str) -> Cell:
    """`api[concurrency=8]` to a cell."""
    group, _, rest = name.rstrip("]").partition("[")
    parameter, _, value = rest.partition("=")
    return Cell(group, parameter, int(value))

"""Recorded pairs of fresh processes: one JSON object a line, committed, so that the record grows run by run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from servegate.measure.pair_plan import Schedule
from servegate.records import Cell
from tools.calibration.lines import append_line, read_lines

PAIRS = "pairs.jsonl"
# The version of a line in the record. Raise it when pairs are measured in another way: older lines are then left out.
# 1: the throughput of every burst, by cell. A line without a schema has version 1.
SCHEMA = 1


@dataclass(frozen=True)
class CellPair:
    """One cell in one pair.

    Attributes
    ----------
    log_ratio:
        log(head / base) as the gate judged it at that time; the calibration uses the blocks instead.
    blocks:
        The blocks' log ratios.
    base_per_s, head_per_s:
        Throughput in each burst, per second.
    seconds, start_seconds:
        The time that the cell took, and the time that the starts of the pair's processes took.
    """

    log_ratio: float
    blocks: tuple[float, ...]
    base_per_s: tuple[float, ...]
    head_per_s: tuple[float, ...]
    seconds: float
    start_seconds: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "CellPair":
        """Read a document that `servegate.judging.pairs.PairFigure.to_json` has made."""
        figures: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**figures)


@dataclass(frozen=True)
class PairRecord:
    """One pair.

    Attributes
    ----------
    kind:
        `same` for identical code, else as in `decode+10%`.
    service_tree:
        git's hash of the measured service. It is recorded only; no pair is left out because of it.
    began:
        The start of the measurement in UTC, ISO 8601.
    burst_s, blocks:
        The schedule of the pair.
    cells:
        The cells by name; with a slowdown perhaps only the cells that it reaches.
    figures:
        The values of base and head by the figure's name, as in `api tail`; empty in older records.
    turns_s:
        Seconds of both arms' turns in each cell that was loaded in turns, by the cell's name; empty in older records.
    digest:
        The digest of the injection; empty for identical code, and in older records.
    """

    kind: str
    service_tree: str
    began: str
    burst_s: float
    blocks: int
    cells: Mapping[str, CellPair]
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    turns_s: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    schema: int = SCHEMA


def read_pairs(path: Path) -> list[PairRecord]:
    """Read all recorded pairs, as `read_lines` reads them."""
    return [_pair(record) for record in read_lines(path)]


def usable_pairs(path: Path, schedule: Schedule, cells: Sequence[Cell]) -> list[PairRecord]:
    """Select the recorded pairs that can be used with new ones: of this schema, these bursts and these cells.

    A pair may have more blocks than the schedule. The blocks that are left out are another sample of the same noise. A
    pair of identical code must have all the cells of each of its groups, a pair of another kind those that it reaches.
    """
    names = {str(cell) for cell in cells}
    return [
        pair
        for pair in read_pairs(path)
        if (pair.schema, pair.burst_s) == (SCHEMA, schedule.burst_s)
        and pair.blocks >= schedule.blocks
        and pair.cells.keys() <= names
        and (pair.kind != "same" or has_whole_groups(pair.cells, cells))
    ]


def has_whole_groups(names: Collection[str], cells: Sequence[Cell]) -> bool:
    """Whether the names are those of all cells of their groups; an older record may lack whole groups."""
    groups = {name.partition("[")[0] for name in names}
    return set(names) == {str(cell) for cell in cells if cell.group in groups}


def append_pair(path: Path, pair: PairRecord) -> None:
    """Add a pair, once it was measured completely."""
    append_line(path, asdict(pair))


def common_cells(pairs: Sequence[PairRecord]) -> tuple[str, ...]:
    """Return the cells that all of the pairs have, in their order."""
    return tuple(cell for cell in pairs[0].cells if all(cell in pair.cells for pair in pairs))


def _pair(record: dict[str, Any]) -> PairRecord:
    cells = {name: CellPair.from_json(cell) for name, cell in record.pop("cells").items()}
    figures = {name: tuple(values) for name, values in record.pop("figures", {}).items()}
    return PairRecord(**{"schema": 1, **record}, cells=cells, figures=figures)

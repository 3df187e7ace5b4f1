"""The page's first table: the change of each group and cell, and where its interval lies on one common scale."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Cells that nothing was compared with have their place in the table of figures.
_LEFT_OUT = ("informs", "not judged")
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_MOST_TICKS = 5
_ROOM = 0.04


@dataclass(frozen=True)
class Scale:
    """The changes that the plot shows, from its left edge to its right.

    Attributes
    ----------
    low, high:
        The limits as shares; low is below zero and high above.
    """

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Scale":
        """Make one that has room for all the values and for zero."""
        known = [0.0, *values]
        room = _ROOM * (max(known) - min(known))
        return cls(min(known) - room, max(known) + room)

    def place(self, change: float) -> float:
        """The place of a change, in percent of the plot's width from its left edge."""
        return round(100 * (change - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[float]:
        """Round changes, at most five of them; zero is one."""
        step = next((step for step in _STEPS if (self.high - self.low) / step < _MOST_TICKS), _STEPS[-1])
        numbers = range(-int(-self.low / step), int(self.high / step) + 1)
        return [number * step for number in numbers]


@dataclass(frozen=True)
class Row:
    """A group or a cell.

    Attributes
    ----------
    place:
        Its place in the document, as in `cells.0`.
    entry:
        The document's entry at that place.
    margin:
        The smallest change that is to be found; None where another row shows it.
    """

    name: str
    place: str
    entry: Mapping[str, Any]
    is_group: bool
    margin: float | None

    @property
    def change(self) -> Mapping[str, float] | None:
        """The estimate, and its interval from low to high."""
        change: Mapping[str, float] | None = self.entry["change"]
        return change

    @property
    def crosses_margin(self) -> bool:
        """Whether it passes although its interval reaches beyond the margin: PASS excludes a larger slowdown."""
        if self.change is None or self.margin is None:
            return False
        return self.entry["status"] == "PASS" and self.change["low"] < -self.margin

    @property
    def reach(self) -> list[float]:
        """The changes that the row shows."""
        excluded = [-self.entry["excludes"]] if self.entry["excludes"] else []
        margins = [-self.margin, self.margin] if self.margin else []
        return [*(self.change.values() if self.change else ()), *excluded, *margins]


def list_rows(document: Mapping[str, Any]) -> list[Row]:
    """Return each group with its cells below it."""
    groups = {group["group"]: place for place, group in enumerate(document["groups"])}
    cells = [(place, cell) for place, cell in enumerate(document["cells"]) if cell["status"] not in _LEFT_OUT]
    rows = []
    for name in dict.fromkeys([*(cell["group"] for _, cell in cells), *groups]):
        if name in groups:
            group = document["groups"][groups[name]]
            rows.append(Row(name, f"groups.{groups[name]}", group, is_group=True, margin=group["margin"]))
        margin = None if name in groups else document["rule"]["margin"]
        rows += [
            Row(cell["cell"], f"cells.{place}", cell, is_group=False, margin=margin)
            for place, cell in cells
            if cell["group"] == name
        ]
    return rows


def find_scale(rows: Sequence[Row]) -> Scale | None:
    """Return the scale of all rows; None where none has a change."""
    if all(row.change is None for row in rows):
        return None
    return Scale.over(value for row in rows for value in row.reach)

"""The subjects of the sentence's clauses: a group, or those of its cells that have a verdict of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from servegate.findings.wording import quote
from servegate.judging.cell_result import CellResult
from servegate.judging.group_result import GroupResult
from servegate.records import Status, Verdict


@dataclass(frozen=True)
class Subject:
    """A group, a cell, or several cells of a group that have the same verdict.

    Attributes
    ----------
    name:
        Its name in a sentence.
    verdicts:
        The group's verdict, or the cells' verdicts; at least one.
    cells:
        The cells that the verdict is about; at least one.
    group:
        None where it is cells.
    """

    name: str
    verdicts: tuple[Verdict, ...]
    cells: tuple[CellResult, ...]
    group: GroupResult | None = None

    @property
    def is_plural(self) -> bool:
        """Whether it is several cells."""
        return self.group is None and len(self.cells) > 1

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of its change; of several cells, what covers all of theirs. None where one has none."""
        changes = [verdict.change for verdict in self.verdicts if verdict.change is not None]
        if len(changes) < len(self.verdicts):
            return None
        return min(change.low for change in changes), max(change.high for change in changes)


def find_subjects(groups: Sequence[GroupResult], cells: Sequence[CellResult], status: Status) -> list[Subject]:
    """Return what has a verdict, in the order of the cells; a group's verdict also speaks for its cells."""
    by_name = {group.name: group for group in groups}
    subjects = []
    for name in dict.fromkeys([*(result.cell.group for result in cells), *by_name]):
        of_group = tuple(result for result in cells if result.cell.group == name)
        group = by_name.get(name)
        if group is not None and group.verdict.status is status:
            meant = tuple(result for result in of_group if result.cell in group.cells)
            subjects.append(Subject(name_group(group, of_group), (group.verdict,), meant, group))
            of_group = tuple(result for result in of_group if result not in meant)
        own = tuple(result for result in of_group if result.verdict.status is status)
        if own:
            counted = f"{len(own)} of {len(of_group)}" if len(own) < len(of_group) else str(len(own))
            shown = quote(str(own[0].cell)) if len(own) == 1 else f"{counted} cells of {quote(name)}"
            subjects.append(Subject(shown, tuple(result.verdict for result in own), own))
    return subjects


def name_group(group: GroupResult, of_group: Sequence[CellResult]) -> str:
    """Name a group, and how many of its cells its verdict is of where that isn't all."""
    few = f" ({len(group.cells)} of {len(of_group)} cells)" if len(group.cells) < len(of_group) else ""
    return quote(group.name) + few

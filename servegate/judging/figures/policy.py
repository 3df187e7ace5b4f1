"""The policy for figures: which are judged where, from which change on, and how often they may err."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from servegate.judging.figures.kinds import FIGURE_KINDS, FigureKind
from servegate.records import Cell

DEFAULT_MARGINS: Mapping[str, float | None] = {kind.name: kind.margin for kind in FIGURE_KINDS}


@dataclass(frozen=True)
class FigurePolicy:
    """The rule's settings for figures.

    Attributes
    ----------
    margins:
        The smallest change that is accused, in the unit of each figure, by its name. The names of a group's figure
        (`api.tail`) and of a cell's (`api[64].tail`) take precedence. None switches the figure off there.
    error_level:
        Probability that a run of identical code is accused, over throughput and all figures.
    looks:
        Numbers of pairs of fresh processes at which figures are tested; a figure's error probability is shared out
        evenly among them.
    allowed_groups:
        Groups whose throughput may fall: their cost and streamed answers are judged even where they are slower.
    first_pairs:
        The number of pairs from which on a figure that lies beyond its margin keeps the run going to its next look.
    """

    margins: Mapping[str, float | None] = field(default_factory=lambda: DEFAULT_MARGINS)
    error_level: float = 0.01
    looks: tuple[int, ...] = (8, 12)
    allowed_groups: frozenset[str] = frozenset()
    first_pairs: int = 4

    def margin_of(self, kind: FigureKind, group: str) -> float | None:
        """The margin of a group's figure as a share or in natural units; None where it isn't judged."""
        margin = self.margin_in_unit(kind, group)
        return None if margin is None else margin * kind.scale

    def margin_in_unit(self, kind: FigureKind, group: str) -> float | None:
        """The margin of a group's figure in the figure's unit; None where it isn't judged."""
        return self.margins.get(f"{group}.{kind.name}", self.margins[kind.name])

    def cells_of(self, kind: FigureKind, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of a group that its figure is computed over; none where it isn't judged."""
        return [
            cell
            for cell in cells
            if self.margin_of(kind, cell.group) is not None
            and self.margins.get(f"{cell.setting_name}.{kind.name}", 0.0) is not None
        ]

    def level(self, kind: FigureKind, groups: int) -> float:
        """The p below which one group's figure is accused at one look (Bonferroni over groups and looks).

        Parameters
        ----------
        groups:
            The number of groups in which the figure is judged.
        """
        return self.error_level * kind.error_share / groups / len(self.looks)

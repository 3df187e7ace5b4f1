"""A run measures and judges the targets, cells and figures whose tests pytest has collected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from servegate.judging.figures.kinds import LATENESS, GroupFigure
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.policy import Policy
from servegate.measure.targets import MeasurementTarget
from servegate.options.allowance import Allowance
from servegate.options.settings import Settings
from servegate.records import Cell
from servegate.session.allowances import allow_slower


@dataclass
class Selection:
    """The targets, cells and figures of this run, and by which policies they are judged.

    Attributes
    ----------
    targets:
        The targets of the collected tests, in the order of their groups.
    cells, figures:
        The cells and the figures whose tests were collected.
    allowances:
        Changes for the worse that are accepted on purpose, by group, cell or figure.
    """

    settings: Settings
    targets: Sequence[MeasurementTarget] = ()
    cells: Sequence[Cell] = ()
    figures: Sequence[GroupFigure] = ()
    allowances: Mapping[str, Allowance] = field(default_factory=dict)

    def cells_of(self, target: MeasurementTarget) -> list[Cell]:
        """The selected cells of a target."""
        return [cell for cell in self.cells if cell.group == target.name]

    def is_judged(self, target: MeasurementTarget) -> bool:
        """Whether the run judges anything of a target: where the load sets the rate, that can only be a figure."""
        if target.name in self.settings.informing:
            return False
        return not target.rate_is_given or any(figure.group == target.name for figure in self.figures)

    @property
    def judged(self) -> list[MeasurementTarget]:
        """The targets of which anything is judged."""
        return [target for target in self.targets if self.is_judged(target)]

    @property
    def judged_throughput(self) -> list[tuple[MeasurementTarget, Sequence[Cell]]]:
        """The targets whose throughput is judged, each with its cells."""
        return [(target, self.cells_of(target)) for target in self.judged if not target.rate_is_given]

    @property
    def at_given_rate(self) -> list[tuple[MeasurementTarget, Sequence[Cell]]]:
        """The targets whose load sets the rate, each with its cells: a comparison judges nothing but their lateness."""
        judged_cells = self.settings.judging.figure_policy.cells_of
        return [
            (target, cells)
            for target in self.targets
            if target.rate_is_given and target.name not in self.settings.informing
            if judged_cells(LATENESS, cells := self.cells_of(target))
        ]

    @property
    def policy(self) -> Policy:
        """The judge's policy for the throughput of what this run judges."""
        cells = [cell for _, cells in self.judged_throughput for cell in cells]
        return self.settings.judging.policy(groups=max(1, len(self.judged_throughput)), cells=max(1, len(cells)))

    @property
    def figure_policy(self) -> FigurePolicy:
        """The judge's policy for the figures that have a test in this run; no other one is judged."""
        policy = self.settings.judging.figure_policy
        without = {
            f"{target.name}.{kind.name}": None
            for target in self.targets
            for kind in target.figures
            if GroupFigure(target.name, kind) not in self.figures
        }
        selected = replace(policy, margins={**policy.margins, **without})
        return allow_slower(self.allowances, selected, {target.name for target in self.targets})

"""The policy of the judge: which change counts, and how often a run may err. It is set before the run measures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from servegate.records import Cell

# A group is accused from an estimate of half its margin on; then a true change of the margin is found in most runs, and
# PASS can exclude one and a half margins. A cell has twice the noise of its group and a fraction of the error level.
_GROUP_ACCUSED, _GROUP_EXCLUDED = 0.5, 1.5
_CELL_ACCUSED, _CELL_EXCLUDED = 1.5, 5.0
_MOST = 0.99
# Groups get this share of the error level, the cells behind them the rest.
_SHARE_OF_GROUPS = 0.8


@dataclass(frozen=True)
class Thresholds:
    """The limits that one throughput is judged by, as shares of it.

    Attributes
    ----------
    accused_from:
        The smallest estimated change that is accused.
    excluded:
        The slowdown that PASS excludes, and the widest that its 95 % interval may reach to either side.
    """

    accused_from: float
    excluded: float


@dataclass(frozen=True)
class Policy:
    """The rule's settings.

    Attributes
    ----------
    margin:
        The slowdown of a group that is to be found, as a share of throughput.
    margins:
        Other margins, by the name of a group (`api`) or of a cell (`api[64]`). A cell without one has its group's.
    error_level:
        Probability that the throughput of a run of identical code is accused, over all groups and cells.
    groups, cells:
        The number of each that the run judges.
    looks:
        Numbers of pairs of fresh processes at which a comparison side by side is judged. They are fixed in advance,
        and the error probability is split over them.
    client_ceiling_cores:
        A client process that uses more than this of its one core is the bottleneck.
    """

    margin: float = 0.02
    margins: Mapping[str, float] = field(default_factory=dict)
    error_level: float = 0.005
    groups: int = 1
    cells: int = 1
    looks: tuple[int, ...] = (4, 5, 7, 10, 15, 22)
    client_ceiling_cores: float = 0.9

    def margin_of(self, group: str) -> float:
        """The margin of a group."""
        return self.margins.get(group, self.margin)

    def of_group(self, group: str) -> Thresholds:
        """Return a group's thresholds."""
        margin = self.margin_of(group)
        return _thresholds(_GROUP_ACCUSED * margin, _GROUP_EXCLUDED * margin)

    def of_cell(self, cell: Cell) -> Thresholds:
        """Return a cell's thresholds."""
        margin = self.margins.get(cell.setting_name, self.margin_of(cell.group))
        return _thresholds(_CELL_ACCUSED * margin, _CELL_EXCLUDED * margin)

    @property
    def group_error_level(self) -> float:
        """Probability that one group is accused of a change that it doesn't have (Bonferroni over the groups)."""
        return self.error_level * _SHARE_OF_GROUPS / self.groups

    @property
    def cell_error_level(self) -> float:
        """Probability that one cell is accused of a change that it doesn't have (Bonferroni over the cells)."""
        return self.error_level * (1 - _SHARE_OF_GROUPS) / self.cells

    def look_share(self, pairs: int, *, last: bool) -> float:
        """The share of every error probability that a look after so many pairs may spend; all looks together: 1.

        It is spent in proportion to the pairs; the last look takes the rest. The looks' probabilities are added up
        (Bonferroni), so this holds however they depend on each other.

        References
        ----------
        K. Kim and D. L. DeMets, Design and analysis of group sequential tests based on the type I error spending rate
        function (Biometrika 74, 1987): the power family, here with power 1.
        """
        before = max((look for look in self.looks if look < pairs), default=0)
        return ((self.looks[-1] if last else pairs) - before) / self.looks[-1]


def _thresholds(accused_from: float, excluded: float) -> Thresholds:
    """No more can be lost than all."""
    return Thresholds(min(accused_from, _MOST), min(excluded, _MOST))

"""The result of a run for one group."""

from dataclasses import dataclass

from servegate.records import Cell, Verdict


@dataclass(frozen=True)
class GroupResult:
    """A group's verdict by a comparison side by side: that of the weighted mean of its cells.

    Attributes
    ----------
    name:
        The group's name, as in `api`.
    verdict:
        Its change is that of the mean.
    margin:
        The smallest true change that the comparison is made to find, as a share of throughput.
    excludes:
        The slowdown that PASS excludes at 95 %, as a share.
    cells:
        The cells that the mean is of.
    pairs:
        The number of pairs of fresh processes that were compared.
    pair_spread:
        Standard deviation of the pairs' means, as a share.
    excluded:
        The slowdown that the data exclude at this look, a positive share; below `excludes` where they say more than
        PASS needs, above it where they say less.
    """

    name: str
    verdict: Verdict
    margin: float
    excludes: float
    cells: tuple[Cell, ...]
    pairs: int
    pair_spread: float
    excluded: float

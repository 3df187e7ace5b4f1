"""The result of a run for one figure of a group."""

from dataclasses import dataclass

from servegate.judging.figures.kinds import GroupFigure
from servegate.records import Change, Verdict


@dataclass(frozen=True)
class FigureResult:
    """A figure's verdict, and the values that it was reached by.

    Attributes
    ----------
    verdict:
        Its own `change` is None: that one would be a change of throughput.
    change:
        The change as a share, or in the figure's natural unit where base and head are compared by their difference;
        None where the processes don't show the figure.
    margin:
        The smallest change that is accused, as `change`.
    excluded:
        The growth that the pairs exclude at 95 %, as `change`; None without one.
    base, head:
        The values of each process, in the figure's natural unit.
    """

    figure: GroupFigure
    verdict: Verdict
    margin: float
    change: Change | None = None
    excluded: float | None = None
    base: tuple[float, ...] = ()
    head: tuple[float, ...] = ()

"""Say which figures beside throughput changed."""

import math
from collections.abc import Collection, Sequence

from servegate.findings.wording import enumerate_names, first_line, quote, write_figure, write_share
from servegate.judging.figures.kinds import COST
from servegate.judging.figures.result import FigureResult
from servegate.records import Status


def describe_figures(figures: Sequence[FigureResult], told: Collection[str], status: Status) -> list[str]:
    """Write a clause for each figure that has a verdict, as in "`api` takes 35 % longer to start [31, 39]".

    Parameters
    ----------
    told:
        The groups whose throughput changed: their cost changed with it, which is no finding of its own.
    status:
        REGRESSED, ALLOWED, IMPROVED or INCONCLUSIVE.
    """
    found = [
        result
        for result in figures
        if result.verdict.status is status and not (result.figure.kind is COST and result.figure.group in told)
    ]
    if status is Status.ALLOWED:
        return [f"{_describe_change(result)}, {first_line(result.verdict.reason)}" for result in found]
    if status is not Status.INCONCLUSIVE:
        return [_describe_change(result) for result in found]
    if not found:
        return []
    names = enumerate_names([quote(str(result.figure)) for result in found])
    return [f"{names} may have grown: {'; '.join(result.verdict.reason for result in found)}"]


def _describe_change(result: FigureResult) -> str:
    kind, change = result.figure.kind, result.change
    assert change is not None, "a figure that changed has a change"
    # In the direction of the change: an end beyond zero keeps its sign.
    sign = math.copysign(1, change.estimate)
    low, high = sorted((sign * change.low, sign * change.high))
    phrase = kind.grew if change.estimate > 0 else kind.shrank
    if kind.is_relative:
        size, ends = write_share(abs(change.estimate)), f"[{write_figure(low)}, {write_figure(high)}]"
    else:
        size = f"{abs(change.estimate) / kind.scale:.3g} {kind.unit}"
        ends = f"[{low / kind.scale:.3g}, {high / kind.scale:.3g}]"
    return f"{quote(result.figure.group)} {phrase.format(size)} {ends}"

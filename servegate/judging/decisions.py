"""Decide from an estimate, for groups and cells, side by side or by a stored baseline. Array arithmetic."""

from enum import IntEnum
from typing import Any

import numpy as np

from servegate.judging.estimators import Floats, MeanDifference
from servegate.judging.policy import Thresholds
from servegate.records import Status

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Integers = np.ndarray[Any, np.dtype[np.int_]]

# One-sided: of what PASS excludes, and of either end of its interval.
CONFIDENCE_OF_PASS = 0.95
_CONFIDENCE_OF_INTERVAL = 0.975


class Decision(IntEnum):
    """The state of a group or a cell under test."""

    OPEN = 0
    PASS = 1
    REGRESSED = 2
    IMPROVED = 3
    LEFT_OUT = 4

    @property
    def status(self) -> Status:
        """The verdict if nothing more is measured; a column that is left out has none."""
        return _STATUSES[self]


_STATUSES = {
    Decision.OPEN: Status.INCONCLUSIVE,
    Decision.PASS: Status.PASS,
    Decision.REGRESSED: Status.REGRESSED,
    Decision.IMPROVED: Status.IMPROVED,
}


def decide(
    change: MeanDifference, accused_from: Floats, excluded: Floats, error_level: float, share: Floats | float
) -> Integers:
    """A `Decision` for each change.

    A change is accused when its estimate reaches the threshold and its p is below the error level. PASS excludes a
    slowdown and needs an interval that is no wider to either side: a wild estimate far on the good side is no proof.

    Parameters
    ----------
    change:
        Differences of log throughput.
    accused_from, excluded:
        The `Thresholds` of each.
    error_level:
        Probability of accusing one that didn't change.
    share:
        The share of every error probability that may be spent now.
    """
    level = error_level * share
    is_slower = (change.difference <= np.log1p(-accused_from)) & (change.p_lower() < level)
    is_faster = (change.difference >= np.log1p(accused_from)) & (change.p_higher() < level)
    is_excluded = excluded_slowdown(change, share) < excluded
    return np.select(
        [is_slower, is_faster, is_excluded], [Decision.REGRESSED, Decision.IMPROVED, Decision.PASS], Decision.OPEN
    )


def excluded_slowdown(change: MeanDifference, share: Floats | float) -> Floats:
    """The slowdown that an estimate excludes, as a share of throughput; 0 at least.

    It is no smaller than the 95 % interval is wide to one side.
    """
    lower = change.difference - change.half_width(1 - (1 - CONFIDENCE_OF_PASS) * share)
    floor = -change.half_width(_CONFIDENCE_OF_INTERVAL)
    return np.maximum(0.0, -np.expm1(np.minimum(lower, floor)))


def explain(decision: Decision, limits: Thresholds, excluded: float) -> str:
    """Explain a decision in half a sentence, with the slowdown that the estimate excludes."""
    if decision in (Decision.REGRESSED, Decision.IMPROVED):
        return f"{_percent(limits.accused_from)} or more, and more than fresh processes differ"
    if decision is Decision.PASS:
        return f"a slowdown of {_percent(limits.excluded)} is excluded at {CONFIDENCE_OF_PASS:.0%}"
    return f"too noisy: {_percent(excluded)} is the slowdown excluded, PASS needs {_percent(limits.excluded)}"


def with_group(cell: Decision, group: Decision) -> tuple[Status, bool]:
    """The status of a cell, and whether its group's decision makes it.

    The cells of a group that regressed have no verdict of their own. A cell that passes alone doesn't pass while its
    group is open, and has improved with it.
    """
    if group is Decision.REGRESSED:
        return Status.REGRESSED, True
    if cell is Decision.PASS and group in (Decision.OPEN, Decision.IMPROVED):
        return group.status, True
    return cell.status, False


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"

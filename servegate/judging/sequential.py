"""The test side by side: groups first, their cells behind them, looks declared in advance.

All of it is array arithmetic over any number of runs at a time: a live run has no leading axis, `make calibrate`
simulates thousands by the very same code. The last axis is that of groups or of cells.

The replicate is the pair of fresh processes. A pair's blocks predict how far its figure strays; how far fresh processes
stray beyond that is unknown on every new machine and may be common to all cells of a process, so it is always estimated
from the pairs of this run, and no constant stands in for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from servegate.judging.decisions import Bools, Decision, Integers, decide, excluded_slowdown
from servegate.judging.estimators import Floats, MeanDifference
from servegate.judging.policy import Policy, Thresholds
from servegate.records import Cell

# (0.01 % of throughput) squared: where blocks agree better than that, rounding decides what they differ by.
_LEAST_VARIANCE = 1e-8
# Degrees of freedom per pair, but for the first pair, of a spread that several columns share.
# Found by simulation (docs/decisions/2026-11-26-groups-first.md); one column alone has 1.
_DEGREES_OF_GROUPS, _DEGREES_OF_CELLS = 1.6, 1.5


@dataclass(frozen=True)
class PairMeans:
    """Means over pairs.

    Attributes
    ----------
    mean:
        Weighted by what the pairs' blocks say.
    variance:
        The mean's variance, if pairs differ by no more than their blocks do.
    spread:
        The factor by which the pairs vary more than that.
    """

    mean: Floats
    variance: Floats
    spread: Floats


def average_pairs(log_ratios: Floats, variances: Floats) -> PairMeans:
    """Average over the pairs, the second axis from the end.

    A pair's variance is taken as halfway between what its own blocks say and what those of all pairs say: a pair that
    was measured while others used the machine weighs less than a calm one.

    Parameters
    ----------
    log_ratios, variances:
        Shape (..., pairs, columns), at least two pairs.

    References
    ----------
    J. Hartung and G. Knapp, A refined method for the meta-analysis of controlled clinical trials with binary outcome
    (Statistics in Medicine 20, 2001): the weighted variance of a weighted mean.
    """
    weights = 1 / _halfway(variances)
    total = weights.sum(axis=-2)
    mean = (weights * log_ratios).sum(axis=-2) / total
    deviations = weights * (log_ratios - mean[..., None, :]) ** 2
    return PairMeans(mean, 1 / total, deviations.sum(axis=-2) / (log_ratios.shape[-2] - 1))


def pool_cells(log_ratios: Floats, variances: Floats, counted: Bools) -> tuple[Floats, Floats]:
    """One log ratio a pair, the mean of its cells, with its variance: shape (..., pairs, 1) each.

    A cell weighs by the inverse of the variance that its blocks have over all pairs, the same in each of them.

    Parameters
    ----------
    log_ratios, variances:
        Shape (..., pairs, cells).
    counted:
        Shape (..., cells): the others don't weigh.
    """
    present = counted[..., None, :]
    values, own = np.where(present, log_ratios, 0.0), np.where(present, variances, 1.0)
    precision = np.where(present, 1 / (own.mean(axis=-2, keepdims=True) + _LEAST_VARIANCE), 0.0)
    share = precision / np.maximum(precision.sum(axis=-1, keepdims=True), 1e-300)
    return (share * values).sum(axis=-1, keepdims=True), (share**2 * own).sum(axis=-1, keepdims=True)


def _halfway(variances: Floats) -> Floats:
    halfway: Floats = (variances + variances.mean(axis=-2, keepdims=True)) / 2 + _LEAST_VARIANCE
    return halfway


class Judged:
    """The groups, or the cells, of a test.

    Attributes
    ----------
    decision:
        The `Decision` of each.
    change:
        The estimate that led to the decision, or the last estimate.
    share, pairs:
        The share of the error level of that look, and its number of pairs.
    spread:
        The variance of its pairs, divided by the variance that their blocks predict; NaN before the first look.
    """

    def __init__(
        self, thresholds: Sequence[Thresholds], error_level: float, degrees_a_pair: float, runs: tuple[int, ...]
    ) -> None:
        shape = (*runs, len(thresholds))
        self.decision: Integers = np.full(shape, Decision.OPEN)
        self.change = MeanDifference(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan))
        self.share: Floats = np.full(shape, np.nan)
        self.pairs: Integers = np.zeros(shape, dtype=int)
        self.spread: Floats = np.full(shape, np.nan)
        self.error_level = error_level
        self._accused_from = np.array([limits.accused_from for limits in thresholds])
        self._excluded = np.array([limits.excluded for limits in thresholds])
        self._degrees_a_pair = degrees_a_pair

    def is_any(self, *decisions: Decision) -> Bools:
        """Return a mask of those that have one of these decisions."""
        found: Bools = np.isin(self.decision, decisions)
        return found

    def look(self, means: PairMeans, pairs: int, share: float, measured: Bools) -> None:
        """Judge those that are open and were measured in all of so many pairs."""
        self.spread = np.where(measured, means.spread, self.spread)
        counted = ~self.is_any(Decision.LEFT_OUT) & ~np.isnan(self.spread)
        columns = np.maximum(counted.sum(axis=-1, keepdims=True), 1)
        typical = np.where(counted, self.spread, 0.0).sum(axis=-1, keepdims=True) / columns
        spread = np.maximum(1.0, np.maximum(self.spread, (self.spread + typical) / 2))
        degrees = np.where(columns > 1, self._degrees_a_pair, 1.0) * (pairs - 1)
        change = MeanDifference(means.mean, np.sqrt(spread * means.variance), np.broadcast_to(degrees, spread.shape))
        judged = measured & self.is_any(Decision.OPEN)
        self.change = change.where(judged, self.change)
        self.share, self.pairs = np.where(judged, share, self.share), np.where(judged, pairs, self.pairs)
        decision = decide(change, self._accused_from, self._excluded, self.error_level, share)
        self.decision = np.where(judged, decision, self.decision)

    def excluded(self) -> Floats:
        """The slowdown that the last estimate excludes at 95 % of a run, as a share of throughput; 0 at least."""
        return excluded_slowdown(self.change, self.share)


class SequentialTest:
    """One comparison side by side, or many at a time.

    Attributes
    ----------
    cells:
        The cells, in the order of the last axis.
    of_cells, of_groups:
        The states of the cells and of the groups.
    group_names:
        The names of the groups, in the order of `of_groups`.
    """

    def __init__(self, policy: Policy, cells: Sequence[Cell], runs: tuple[int, ...] = ()) -> None:
        self.cells = tuple(cells)
        self.group_names = tuple(dict.fromkeys(cell.group for cell in cells))
        self._group_of_cell = np.array([self.group_names.index(cell.group) for cell in cells], dtype=np.intp)
        self._policy = policy
        self.of_groups = Judged(
            [policy.of_group(name) for name in self.group_names],
            policy.group_error_level,
            _DEGREES_OF_GROUPS,
            runs,
        )
        self.of_cells = Judged(
            [policy.of_cell(cell) for cell in cells], policy.cell_error_level, _DEGREES_OF_CELLS, runs
        )

    @property
    def measured(self) -> Bools:
        """A mask of the cells that the next pair measures.

        All cells of an open group are measured, and the open ones of a group that was decided and didn't regress.
        """
        group = self.of_groups.decision[..., self._group_of_cell]
        is_open = self.of_cells.is_any(Decision.OPEN)
        in_open_group = (group == Decision.OPEN) & ~self.of_cells.is_any(Decision.LEFT_OUT)
        measured: Bools = in_open_group | (is_open & (group != Decision.REGRESSED))
        return measured

    def leave_out(self, cell: Cell) -> None:
        """Take a cell out that has no figures, as after a wrong answer; its group is judged by the others."""
        self.of_cells.decision[..., self.cells.index(cell)] = Decision.LEFT_OUT
        number = self.group_names.index(cell.group)
        alone = (self.of_cells.decision[..., self._group_of_cell == number] == Decision.LEFT_OUT).all(axis=-1)
        self.of_groups.decision[..., number] = np.where(alone, Decision.LEFT_OUT, self.of_groups.decision[..., number])

    def look(self, log_ratios: Floats, variances: Floats, *, last: bool = False) -> None:
        """Judge what is open by all pairs so far.

        Parameters
        ----------
        log_ratios:
            log(head / base), shape (..., pairs, cells); anything where a cell wasn't measured.
        variances:
            The variance of each log ratio, as the pair's own blocks give it.
        last:
            Whether no more pairs will come.
        """
        pairs = log_ratios.shape[-2]
        share, measured = self._policy.look_share(pairs, last=last), self.measured
        counted = ~self.of_cells.is_any(Decision.LEFT_OUT)
        pooled = [
            pool_cells(log_ratios[..., columns], variances[..., columns], counted[..., columns])
            for columns in (self._group_of_cell == number for number in range(len(self.group_names)))
        ]
        of_groups = average_pairs(*(np.concatenate(parts, axis=-1) for parts in zip(*pooled, strict=True)))
        self.of_groups.look(of_groups, pairs, share, self.of_groups.is_any(Decision.OPEN))
        self.of_cells.look(average_pairs(log_ratios, variances), pairs, share, measured)

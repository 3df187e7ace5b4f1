"""Slow changes over many runs that stay below each single run's margin. Pure functions on sequences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import ruptures

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

LEAST_RUNS = 8
# The variances of the noise that a further segment must explain. Simulated: one of 60 flat runs' histories in a hundred
# is flagged (normal noise); a single split of pure noise explains 13 variances once in a hundred.
_PENALTY = 20.0
# Levels that change in the same direction within this many runs count as one change.
_ONE_CHANGE_RUNS = 10
# Beginnings whose fit is worse by at most so many variances of the noise are named: nine in ten, chi squared with one
# degree of freedom, and one more since only whole runs are tried.
_NAMED = 3.7


@dataclass(frozen=True)
class Shift:
    """A lasting change of level, at once or slowly.

    Attributes
    ----------
    first, last:
        Numbers of the runs of which one is the first with the change in it.
    end:
        Number of the run from which the new level holds.
    change:
        New level over the old minus 1; -0.1 is 10 % lower.
    """

    first: int
    last: int
    end: int
    change: float


def find_shifts(throughput_per_s: Sequence[float], least: float) -> list[Shift]:
    """Find the lasting changes of throughput by at least a share, in order; none in fewer than 8 runs.

    Levels are found by optimal partitioning with a penalty (PELT); neighbouring levels that change in one direction are
    one change. When that began is found by least squares with a level, a slope and a level.

    Parameters
    ----------
    throughput_per_s:
        Throughput of one cell, run by run.
    least:
        The smallest change that is returned, as a share of throughput.

    References
    ----------
    R. Killick, P. Fearnhead and I. A. Eckley, Optimal detection of changepoints with a linear computational cost
    (Journal of the American Statistical Association 107, 2012); C. Truong, L. Oudre and N. Vayatis, Selective review of
    offline change point detection methods (Signal Processing 167, 2020): ruptures.
    """
    if len(throughput_per_s) < LEAST_RUNS:
        return []
    logs: Floats = np.log(np.asarray(throughput_per_s, dtype=float))
    variance = noise_variance(logs) or 1e-12  # or figures that repeat exactly
    logs = _clipped(logs, math.sqrt(variance))
    ends = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(logs).predict(pen=_PENALTY * variance)
    starts = [0, *ends[:-1]]
    levels = [float(logs[start:end].mean()) for start, end in zip(starts, ends, strict=True)]
    shifts = []
    for group in _alike(starts, levels):
        change = float(np.expm1(levels[group[-1]] - levels[group[0] - 1]))
        if abs(change) >= least:
            window = slice(starts[group[0] - 1], ends[group[-1]])
            shifts.append(_locate(logs[window], variance, window.start, change))
    return shifts


def noise_variance(logs: Floats) -> float:
    """Estimate the noise from differences of neighbours: levels and slopes hardly change them; robust to outliers."""
    differences = np.diff(logs)
    return float((1.4826 * np.median(np.abs(differences - np.median(differences)))) ** 2 / 2)


def _clipped(logs: Floats, sd: float) -> Floats:
    """Limit each run to 3 standard deviations around the median of five, so that one outlier makes no new level."""
    padded = np.pad(logs, 2, mode="reflect")
    medians = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    clipped: Floats = np.clip(logs, medians - 3 * sd, medians + 3 * sd)
    return clipped


def _alike(starts: Sequence[int], levels: Sequence[float]) -> list[list[int]]:
    """Group the numbers of levels that follow each other soon and change in the same direction."""
    groups: list[list[int]] = []
    for number, (before, level) in enumerate(pairwise(levels), start=1):
        last = groups[-1][-1] if groups else None
        is_soon = last is not None and starts[number] - starts[last] <= _ONE_CHANGE_RUNS
        if last is not None and is_soon and (level < before) == (levels[last] < levels[last - 1]):
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _locate(logs: Floats, variance: float, offset: int, change: float) -> Shift:
    """Fit a level until run b, a line from there to run e, and a level from then on, for all b < e."""
    runs = np.arange(len(logs))
    errors: Floats = np.full((len(logs), len(logs)), np.inf)
    for begin in runs[:-1]:
        ends = runs[begin + 1 :, None]
        ramps = np.clip((runs - begin) / (ends - begin), 0.0, 1.0)
        centred = ramps - ramps.mean(axis=1, keepdims=True)
        slopes = centred @ logs / np.square(centred).sum(axis=1)
        residuals = logs - logs.mean() - slopes[:, None] * centred
        errors[begin, begin + 1 :] = np.square(residuals).sum(axis=1)
    least = float(errors.min())
    end = int(errors.argmin()) % len(logs)
    (begins,) = np.nonzero(errors.min(axis=1) <= least + _NAMED * variance)
    return Shift(offset + int(begins[0]) + 1, offset + int(begins[-1]) + 1, offset + end, change)

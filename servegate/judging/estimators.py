"""Pure functions on sequences: how a new mean of fresh processes compares with stored ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy import special

from servegate.records import Change

_INTERVAL_CONFIDENCE = 0.975  # one-sided at both ends: a 95 % interval


Floats = np.ndarray[Any, np.dtype[np.float64]]
# With a standard error of 0, as equal observations have, t is undefined; one billionth leads to the same decisions.
_LEAST_STANDARD_ERROR = 1e-9


@dataclass(frozen=True)
class MeanDifference:
    """Mean differences with their standard errors; their quotients follow Student's t if nothing changed.

    All are arrays of one shape, without an axis for a single difference.

    Attributes
    ----------
    difference:
        Mean of the new observations minus mean of the old.
    standard_error:
        Standard error of the difference.
    degrees_of_freedom:
        Those of the t distribution that difference / standard_error follows.
    """

    difference: Floats
    standard_error: Floats
    degrees_of_freedom: Floats

    def p_lower(self) -> Floats:
        """Probability of a difference this low or lower without a change."""
        return _array(special.stdtr(self.degrees_of_freedom, self.difference / self._standard_error))

    def p_higher(self) -> Floats:
        """Probability of a difference this high or higher without a change."""
        return _array(special.stdtr(self.degrees_of_freedom, -self.difference / self._standard_error))

    def half_width(self, confidence: Floats | float) -> Floats:
        """Half the width of the interval around the difference, with this one-sided confidence at each end."""
        return _array(special.stdtrit(self.degrees_of_freedom, confidence) * self.standard_error)

    def as_change(self) -> Change:
        """The relative change of a single difference with its 95 % interval, where observations are logarithms."""
        half_width = self.half_width(_INTERVAL_CONFIDENCE)
        estimates = (self.difference, self.difference - half_width, self.difference + half_width)
        return Change(*(math.expm1(float(value)) for value in estimates))

    def where(self, chosen: np.ndarray[Any, np.dtype[np.bool_]], other: "MeanDifference") -> "MeanDifference":
        """Return these differences where they are chosen, and the other's elsewhere."""
        return MeanDifference(
            np.where(chosen, self.difference, other.difference),
            np.where(chosen, self.standard_error, other.standard_error),
            np.where(chosen, self.degrees_of_freedom, other.degrees_of_freedom),
        )

    def at(self, place: int) -> "MeanDifference":
        """The single difference at a place of the last axis."""
        return MeanDifference(
            self.difference[..., place], self.standard_error[..., place], self.degrees_of_freedom[..., place]
        )

    @property
    def _standard_error(self) -> Floats:
        return np.maximum(self.standard_error, _LEAST_STANDARD_ERROR)


def single_difference(difference: float, standard_error: float, degrees_of_freedom: float) -> MeanDifference:
    """One difference without an axis."""
    return MeanDifference(np.array(difference), np.array(standard_error), np.array(degrees_of_freedom))


def _array(values: object) -> Floats:
    array: Floats = np.asarray(values)
    return array


# A trimmed mean of a normal sample varies at most so much more than its mean: 1.35 for the median of three
# (David and Nagaraja, Order Statistics, 2003, table 3.2), rounded up for the small samples that it is used on.
_TRIMMED_VARIANCE = 1.5
_TRIMMED_SHARE = 0.2


def predict_mean(stored: Sequence[float], new: Sequence[float]) -> MeanDifference:
    """Compare the trimmed mean of new observations with what stored ones predict for it.

    One observation in five is left out at either end, of three or more new ones at least one: a process that something
    disturbed must neither accuse nor blind. The standard error is s * sqrt(1.5 * (1/n + 1/m)) with n stored and m new
    observations, and s the stored ones' standard deviation as their winsorised sum of squares estimates it, on
    n - 2g - 1 degrees of freedom with g left out at either end. The new ones' own spread is left out: of few it is a
    poor estimate.

    Parameters
    ----------
    stored:
        At least two observations.
    new:
        At least one.

    References
    ----------
    G. J. Hahn and W. Q. Meeker, Statistical Intervals (Wiley, 1991), chapter 4: prediction interval to contain the
    mean of m future observations. K. K. Yuen, The two-sample trimmed t for unequal population variances (Biometrika
    61, 1974): winsorised variance and degrees of freedom.
    """
    if len(stored) < 2 or not new:
        raise ValueError(f"needs two stored observations and a new one, got {len(stored)} and {len(new)}")
    return single_difference(
        difference=trimmed_mean(new, _trimmed_of_new(new)) - trimmed_mean(stored, _trimmed_of_stored(stored)),
        standard_error=robust_spread(stored) * math.sqrt(_TRIMMED_VARIANCE * (1 / len(stored) + 1 / len(new))),
        degrees_of_freedom=len(stored) - 2 * _trimmed_of_stored(stored) - 1,
    )


def trimmed_mean(values: Sequence[float], trimmed: int) -> float:
    """Mean without the `trimmed` lowest and highest values."""
    return fmean(sorted(values)[trimmed : len(values) - trimmed])


def midmean(values: Sequence[float]) -> float:
    """Mean of the middle half: as robust against a quarter of outliers at either end, and sharper than the median."""
    return trimmed_mean(values, len(values) // 4)


def robust_spread(values: Sequence[float]) -> float:
    """Standard deviation from the values with one in five at either end drawn in to its neighbour (winsorised)."""
    trimmed = _trimmed_of_stored(values)
    return stdev(_winsorised(values, trimmed)) / (1 - 2 * trimmed / len(values))


def _winsorised(values: Sequence[float], trimmed: int) -> list[float]:
    """The `trimmed` lowest and highest values drawn in to their neighbours."""
    core = sorted(values)[trimmed : len(values) - trimmed]
    return [core[0]] * trimmed + core + [core[-1]] * trimmed


def typical_rate(rates: Sequence[float], *, stored: bool) -> float:
    """The throughput that `predict_mean` compares, back from logarithms."""
    logs = [math.log(rate) for rate in rates]
    return math.exp(trimmed_mean(logs, _trimmed_of_stored(logs) if stored else _trimmed_of_new(logs)))


def _trimmed_of_stored(values: Sequence[float]) -> int:
    return int(_TRIMMED_SHARE * len(values))


def _trimmed_of_new(values: Sequence[float]) -> int:
    return max(1, int(_TRIMMED_SHARE * len(values))) if len(values) >= 3 else 0


def paired_mean(differences: Sequence[float]) -> MeanDifference:
    """The paired t statistic of at least two differences."""
    spread = stdev(differences)
    return single_difference(fmean(differences), spread / math.sqrt(len(differences)), len(differences) - 1)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def most_of_known(values: Iterable[float | None]) -> float | None:
    """The largest of those that are known; None if none is."""
    return max((value for value in values if value is not None), default=None)


def geometric_mean(values: Sequence[float]) -> float:
    """Exp of the mean logarithm; values above 0."""
    return math.exp(fmean(math.log(value) for value in values))


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile of single requests' figures; NaN where fewer than one value is expected to lie beyond it.

    The percentile of fewer values would be the largest of them, and chance decides how large that is.
    """
    if len(values) * (100 - percent) < 100:
        return math.nan
    return float(np.percentile(values, percent))

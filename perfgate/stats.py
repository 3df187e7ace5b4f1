"""Pure functions on sequences: how a new mean of fresh processes compares with stored ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats


@dataclass(frozen=True)
class MeanDifference:
    """A mean difference with its standard error; their quotient follows Student's t if nothing changed.

    Attributes
    ----------
    difference:
        Mean of the new observations minus mean of the old.
    standard_error:
        Of the difference.
    degrees_of_freedom:
        Of the t distribution that difference / standard_error follows.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: int

    def p_lower(self) -> float:
        """Probability of a difference this low or lower without a change."""
        if self.standard_error == 0:
            return 1.0 if self.difference >= 0 else 0.0
        return float(stats.t.cdf(self.difference / self.standard_error, self.degrees_of_freedom))

    def p_higher(self) -> float:
        """Probability of a difference this high or higher without a change."""
        return MeanDifference(-self.difference, self.standard_error, self.degrees_of_freedom).p_lower()

    def lower_bound(self, confidence: float) -> float:
        """The change lies above this with the given one-sided confidence."""
        return self.difference - float(stats.t.ppf(confidence, self.degrees_of_freedom)) * self.standard_error

    def upper_bound(self, confidence: float) -> float:
        """The change lies below this with the given one-sided confidence."""
        return self.difference + float(stats.t.ppf(confidence, self.degrees_of_freedom)) * self.standard_error


def predict_mean(stored: Sequence[float], new: Sequence[float]) -> MeanDifference:
    """Compare the mean of new observations with what stored ones predict for it.

    The standard error is s * sqrt(1/n + 1/m) with n stored and m new observations and s the stored ones' standard
    deviation, on n - 1 degrees of freedom. The new ones' own spread is left out: of few it is a poor estimate.

    Parameters
    ----------
    stored:
        At least two observations.
    new:
        At least one.

    References
    ----------
    G. J. Hahn and W. Q. Meeker, Statistical Intervals (Wiley, 1991), chapter 4: prediction interval to contain the
    mean of m future observations.
    """
    if len(stored) < 2 or not new:
        raise ValueError(f"needs two stored observations and a new one, got {len(stored)} and {len(new)}")
    return MeanDifference(
        difference=fmean(new) - fmean(stored),
        standard_error=stdev(stored) * math.sqrt(1 / len(stored) + 1 / len(new)),
        degrees_of_freedom=len(stored) - 1,
    )


def mean_of_pairs(differences: Sequence[float]) -> MeanDifference:
    """The paired t statistic (Student, 1908): mean and s / sqrt(n) of differences within pairs, on n - 1 degrees.

    Parameters
    ----------
    differences:
        New minus old of each pair, at least two.
    """
    if len(differences) < 2:
        raise ValueError(f"needs two pairs, got {len(differences)}")
    return MeanDifference(
        difference=fmean(differences),
        standard_error=stdev(differences) / math.sqrt(len(differences)),
        degrees_of_freedom=len(differences) - 1,
    )


def geometric_mean(values: Sequence[float]) -> float:
    """Exp of the mean logarithm; values above 0."""
    return math.exp(fmean(math.log(value) for value in values))

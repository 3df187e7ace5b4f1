"""Pure functions on sequences: how a new mean of fresh processes compares with stored ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import special

from servegate.records import Change

_INTERVAL_CONFIDENCE = 0.975  # one-sided at both ends: a 95 % interval


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
        return float(special.stdtr(self.degrees_of_freedom, self.difference / self.standard_error))

    def p_higher(self) -> float:
        """Probability of a difference this high or higher without a change."""
        return MeanDifference(-self.difference, self.standard_error, self.degrees_of_freedom).p_lower()

    def lower_bound(self, confidence: float) -> float:
        """The change lies above this with the given one-sided confidence."""
        return self.difference - float(special.stdtrit(self.degrees_of_freedom, confidence)) * self.standard_error

    def upper_bound(self, confidence: float) -> float:
        """The change lies below this with the given one-sided confidence."""
        return self.difference + float(special.stdtrit(self.degrees_of_freedom, confidence)) * self.standard_error

    def as_change(self) -> Change:
        """The relative change with its 95 % interval, where the observations are logarithms."""
        low, high = (bound(_INTERVAL_CONFIDENCE) for bound in (self.lower_bound, self.upper_bound))
        return Change(math.expm1(self.difference), math.expm1(low), math.expm1(high))


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
    return MeanDifference(
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


def midmean_variance(values: Sequence[float]) -> float:
    """Variance of the midmean of at least two values: the winsorised sum of squares over h (h - 1), h values kept.

    References
    ----------
    J. W. Tukey and D. H. McLaughlin, Less vulnerable confidence and significance procedures for location based on a
    single sample: trimming/winsorization 1 (Sankhya A 25, 1963).
    """
    trimmed = len(values) // 4
    kept = len(values) - 2 * trimmed
    winsorised = _winsorised(values, trimmed)
    centre = fmean(winsorised)
    return sum((value - centre) ** 2 for value in winsorised) / (kept * (kept - 1))


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


# Fresh processes of one code differ by about this much whatever their blocks say, as a share of throughput.
_BETWEEN_PROCESSES = 0.01
_PRIOR_DEGREES = 6


def mean_of_pairs(differences: Sequence[float], variances: Sequence[float]) -> MeanDifference:
    """The paired t statistic, weighted, with a moderated variance.

    Few pairs estimate their own variance badly, but each pair's blocks say how far its figure can be trusted. A pair's
    variance v_i is taken as halfway between what its own blocks give and the mean of all pairs, plus 1 % squared for
    what blocks can't see. The mean is weighted by w_i = 1 / v_i: a pair that was measured while others used the machine
    says less than a calm one. How far all these variances are right is the factor that the pairs' own spread estimates,
    s^2 = sum(w_i (y_i - mean)^2) / (n - 1), averaged with a prior of 1 on 6 degrees of freedom: (6 + (n - 1) s^2) /
    (n + 5). As pairs come in, their own spread takes over.

    Parameters
    ----------
    differences:
        New minus old of each pair, at least two.
    variances:
        Of each difference as the pair's own blocks give it, see `midmean_variance`.

    References
    ----------
    G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments (Statistical Applications in Genetics and Molecular Biology 3, 2004): the moderated t statistic.
    J. Hartung and G. Knapp, A refined method for the meta-analysis of controlled clinical trials with binary outcome
    (Statistics in Medicine 20, 2001): the weighted variance of a weighted mean.
    """
    if len(differences) < 2 or len(differences) != len(variances):
        raise ValueError(f"needs two pairs, each with a variance; got {len(differences)} and {len(variances)}")
    typical = fmean(variances)
    weights = [1 / ((own + typical) / 2 + _BETWEEN_PROCESSES**2) for own in variances]
    mean = fmean(differences, weights)
    own_degrees = len(differences) - 1
    own_factor = (
        sum(weight * (value - mean) ** 2 for weight, value in zip(weights, differences, strict=True)) / own_degrees
    )
    degrees_of_freedom = _PRIOR_DEGREES + own_degrees
    factor = (_PRIOR_DEGREES + own_degrees * own_factor) / degrees_of_freedom
    return MeanDifference(mean, math.sqrt(factor / sum(weights)), degrees_of_freedom)


def paired_mean(differences: Sequence[float]) -> MeanDifference:
    """The paired t statistic of at least two differences."""
    spread = stdev(differences)
    return MeanDifference(fmean(differences), spread / math.sqrt(len(differences)), len(differences) - 1)


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

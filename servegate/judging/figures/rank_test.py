"""The exact rank test of two groups of fresh processes: it assumes no distribution of their figures."""

from functools import cache

import numpy as np

from servegate.judging.estimators import Floats


def p_higher(base: Floats, head: Floats) -> Floats:
    """The probability that the head ranks this high or higher if both follow one distribution.

    A tie counts as a head that is lower, so with ties the probability is too high, never too low.

    Parameters
    ----------
    base, head:
        One value for each process, shape (..., processes); both have equally many.

    References
    ----------
    H. B. Mann and D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the
    other (Annals of Mathematical Statistics 18, 1947).
    """
    wins = (head[..., :, None] > base[..., None, :]).sum(axis=(-2, -1))
    probabilities: Floats = _upper_tail(base.shape[-1])[wins]
    return probabilities


@cache
def _upper_tail(processes: int) -> Floats:
    """P(wins >= u) for u = 0 … n², all orders of 2n processes equally likely.

    The orders with u wins are the partitions of u into at most n parts of at most n each; the product of
    (1 - q^(n+i)) / (1 - q^i) over i = 1 … n counts them.
    """
    counts = [1, *[0] * processes**2]
    for part in range(1, processes + 1):
        for wins in range(processes**2, processes + part - 1, -1):
            counts[wins] -= counts[wins - processes - part]
        for wins in range(part, processes**2 + 1):
            counts[wins] += counts[wins - part]
    tails = np.cumsum(counts[::-1], dtype=np.float64)[::-1]
    upper_tail: Floats = tails / tails[0]
    return upper_tail

"""Counts as shares, with exact limits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from servegate.judging.decisions import Bools


@dataclass(frozen=True)
class Share:
    """The share of runs in which something happened.

    Attributes
    ----------
    count, of:
        The runs in which it happened, and all runs.
    share:
        Their quotient.
    low, high:
        Exact limits (Clopper and Pearson).
    """

    count: int
    of: int
    share: float
    low: float
    high: float


def limit_share(happened: Bools) -> Share:
    """The share with limits that hold at 95 % each, one-sided."""
    return _share(int(np.sum(happened)), len(happened), 0.90)


def interval_of(count: int, of: int) -> Share:
    """The share with its 95 % interval."""
    return _share(count, of, 0.95)


def _share(count: int, of: int, confidence: float) -> Share:
    interval: Any = binomtest(count, of).proportion_ci(confidence, method="exact")
    return Share(count, of, round(count / of, 4), round(float(interval.low), 4), round(float(interval.high), 4))

"""Detect a process that gets slower while it is measured, as by a leak, a growing list or an overflowing cache."""

from collections.abc import Sequence
from statistics import geometric_mean, median

from servegate.records import Sample

_PARTS = 3
_MIN_ROUNDS_A_PART = 2
# The noise of a machine comes and goes. It seldom affects the same third of every process.
_EVERY_PROCESS = 1.05
_ALL_TOGETHER = 1.15


def describe_slowing(samples: Sequence[Sample]) -> str | None:
    """Describe how much longer the last third of the rounds takes than the first; None unless every process slows down.

    Parameters
    ----------
    samples:
        The samples of fresh processes; with only one, the answer is None.
    """
    ratios = [_last_to_first(sample.rounds_s) for sample in samples]
    if len(ratios) < 2 or min(ratios) < _EVERY_PROCESS or geometric_mean(ratios) < _ALL_TOGETHER:
        return None
    return (
        f"every process slows down as it runs: the last third of its rounds takes {geometric_mean(ratios) - 1:.0%} "
        "longer than the first"
    )


def _last_to_first(rounds_s: Sequence[float]) -> float:
    part = len(rounds_s) // _PARTS
    if part < _MIN_ROUNDS_A_PART:
        return 1.0
    return median(rounds_s[-part:]) / median(rounds_s[:part])

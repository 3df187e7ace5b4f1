"""The result of one pair of fresh processes for one cell: the replicate on which the statistical tests run."""

import math
from dataclasses import dataclass
from statistics import fmean, variance

from servegate.errors import MeasurementError
from servegate.judging.estimators import midmean
from servegate.judging.stages import PartsOfPair
from servegate.records import BurstRecord, Cell, Sample


@dataclass(frozen=True)
class PairFigure:
    """The result of one pair of fresh processes for one cell.

    Attributes
    ----------
    log_ratio:
        log(throughput of head / throughput of base): the replicate of the statistical tests; NaN after a wrong answer.
    blocks:
        The log ratios of the blocks whose mean it is. The mean counts the service's own stalls, which a robust figure
        would hide.
    base, head:
        The measurement of each arm.
    seconds:
        Seconds that the cell took in this pair.
    start_seconds:
        Seconds that the starts of the pair took, for all its cells together.
    """

    log_ratio: float
    blocks: tuple[float, ...]
    base: Sample
    head: Sample
    seconds: float
    start_seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Round to the digits that have a meaning; the throughput of each burst is included."""
        return {
            "log_ratio": round(self.log_ratio, 5) if math.isfinite(self.log_ratio) else None,
            "blocks": [round(block, 4) for block in self.blocks],
            "base_per_s": [float(f"{rate:.4g}") for rate in self.base.rates_per_s],
            "head_per_s": [float(f"{rate:.4g}") for rate in self.head.rates_per_s],
            "seconds": round(self.seconds, 1),
            "start_seconds": round(self.start_seconds, 1),
        }

    @property
    def parts(self) -> PartsOfPair:
        """The times of the parts of a request in each arm."""
        return self.base.parts, self.head.parts

    @property
    def variance(self) -> float:
        """Variance of the log ratio, estimated from its blocks, of which there must be two or more."""
        return variance(self.blocks) / len(self.blocks)

    @property
    def robust_log_ratio(self) -> float:
        """The mean of the middle half of the blocks: without the machine's stalls, and without the service's own."""
        return midmean(self.blocks)


def pair_figure(cell: Cell, base: BurstRecord, head: BurstRecord, seconds: float) -> PairFigure:
    """Compute the figure of a pair from its blocks, each of which has two bursts of each arm.

    Raises
    ------
    MeasurementError
        When most blocks have a burst in which nothing completed.
    """
    if base.sample.failures or head.sample.failures:
        return PairFigure(math.nan, (), base.sample, head.sample, seconds)
    starts = range(0, len(head.units), 2)
    # A stall of both arms leaves nothing to compare.
    blocks = [start for start in starts if _units(base, start) or _units(head, start)]
    stalled = [start for start in blocks if not (_units(base, start) and _units(head, start))]
    if 2 * len(blocks) <= len(starts) or 2 * len(stalled) >= len(blocks):
        raise MeasurementError(f"{cell}: nothing happened in most bursts; a server stands still, or is far too slow")
    log_ratios = tuple(math.log(_rate(head, start) / _rate(base, start)) for start in blocks)
    return PairFigure(fmean(log_ratios), log_ratios, base.sample, head.sample, seconds)


def _units(record: BurstRecord, start: int) -> float:
    return sum(record.units[start : start + 2])


def _rate(record: BurstRecord, start: int) -> float:
    # A stall that lasts both bursts counts as half a unit: slow, and not infinitely so.
    return max(_units(record, start), 0.5) / sum(record.seconds[start : start + 2])

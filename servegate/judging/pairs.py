"""What one pair of fresh processes says of one cell: the replicate that tests run on."""

import math
from dataclasses import dataclass

from servegate.errors import MeasurementError
from servegate.judging.estimators import midmean, midmean_variance
from servegate.judging.stages import PartsOfPair
from servegate.records import BurstRecord, Cell, Sample


@dataclass(frozen=True)
class PairFigure:
    """What one pair of fresh processes says of one cell.

    Attributes
    ----------
    log_ratio:
        log(throughput of head / throughput of base): the replicate that tests run on; NaN after a wrong answer.
    blocks:
        The blocks whose midmean it is.
    base, head:
        What each arm measured.
    seconds:
        How long it took.
    start_seconds:
        How long the pair's starts took, for all its cells together.
    """

    log_ratio: float
    blocks: tuple[float, ...]
    base: Sample
    head: Sample
    seconds: float
    start_seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """With as many digits as have a meaning; throughput of each burst."""
        return {
            "log_ratio": round(self.log_ratio, 5) if math.isfinite(self.log_ratio) else None,
            "blocks": [round(block, 4) for block in self.blocks if math.isfinite(block)],
            "base_per_s": [float(f"{rate:.4g}") for rate in self.base.rates_per_s],
            "head_per_s": [float(f"{rate:.4g}") for rate in self.head.rates_per_s],
            "seconds": round(self.seconds, 1),
            "start_seconds": round(self.start_seconds, 1),
        }

    @property
    def parts(self) -> PartsOfPair:
        """What the parts of a request took in each arm."""
        return self.base.parts, self.head.parts

    @property
    def variance(self) -> float:
        """Of the log ratio, as its blocks give it; at least two."""
        return midmean_variance(self.blocks)


def pair_figure(cell: Cell, base: BurstRecord, head: BurstRecord, seconds: float) -> PairFigure:
    """Block by block, two bursts an arm each.

    Raises
    ------
    MeasurementError
        When most blocks have a burst in which nothing completed.
    """
    if base.sample.failures or head.sample.failures:
        return PairFigure(math.nan, (), base.sample, head.sample, seconds)
    blocks = tuple(
        _log_rate(head, start) - _log_rate(base, start)
        for start in range(0, len(head.units), 2)
        # A stall of both arms leaves nothing to compare.
        if any(head.units[start : start + 2]) or any(base.units[start : start + 2])
    )
    log_ratio = midmean(blocks) if 4 * len(blocks) > len(head.units) else math.nan
    if not math.isfinite(log_ratio):
        raise MeasurementError(f"{cell}: nothing happened in most bursts; a server stands still, or is far too slow")
    return PairFigure(log_ratio, blocks, base.sample, head.sample, seconds)


def _log_rate(record: BurstRecord, start: int) -> float:
    units, seconds = sum(record.units[start : start + 2]), sum(record.seconds[start : start + 2])
    return math.log(units / seconds) if units else -math.inf

"""The values of a group's figures that one fresh process showed, each in its natural unit."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median_low

from servegate.judging.estimators import geometric_mean, trimmed_mean
from servegate.judging.figures.kinds import (
    COST,
    FIRST_PIECE,
    GROWTH,
    LATENESS,
    MEMORY,
    PIECE_GAP,
    START,
    TAIL,
    FigureKind,
)
from servegate.records import ProcessRecord, Sample

# The share of latencies that is left out at either end: the slowest must not be part of the mean that they are
# compared with.
_TRIMMED_SHARE = 0.1


def read_value(kind: FigureKind, process: ProcessRecord, samples: Sequence[Sample | None]) -> float | None:
    """A figure's value in one process; None where the process doesn't show it.

    Parameters
    ----------
    samples:
        One for each cell that the figure is of; None for a cell that wasn't loaded.
    """
    if kind is MEMORY:
        return process.memory_bytes or None
    if kind is START:
        return process.start_s
    known = [sample for sample in samples if sample is not None and not sample.failures]
    values = [value for sample in known if (value := _OF_CELL[kind](sample)) is not None]
    # The figure is of all its cells together: without one of them it would be another figure.
    if not values or len(values) < len(samples):
        return None
    # A leak shows in every cell. Memory that only a cell with more in flight needs shows in that one.
    return median_low(values) if kind is GROWTH else geometric_mean(values)


def slowest_ms(windows_ms: Sequence[Sequence[float]]) -> float | None:
    """The slowest request of a window, in ms: exp(mean of log(slowest of a window)); None without a request.

    A stall that makes many requests of a window late counts once.

    Parameters
    ----------
    windows_ms:
        The latencies of the requests that were sent in each window.
    """
    of_windows_ms = [max(window) for window in windows_ms if window]
    return geometric_mean(of_windows_ms) if of_windows_ms else None


def tail_ratio(windows_ms: Sequence[Sequence[float]]) -> float | None:
    """The slowest request of a window as a multiple of the trimmed mean of all latencies; None without a request.

    In a closed loop a slower service has slower requests of every kind, which throughput shows; this shows the others.
    """
    of_slowest_ms = slowest_ms(windows_ms)
    if of_slowest_ms is None:
        return None
    return of_slowest_ms / _usual([latency for window in windows_ms for latency in window])


def _usual(latencies_ms: Sequence[float]) -> float:
    return trimmed_mean(latencies_ms, int(_TRIMMED_SHARE * len(latencies_ms)))


_OF_CELL: Mapping[FigureKind, Callable[[Sample], float | None]] = {
    TAIL: lambda sample: tail_ratio(sample.windows_ms),
    LATENESS: lambda sample: slowest_ms(sample.windows_ms),
    FIRST_PIECE: lambda sample: _usual(sample.first_pieces_ms) if sample.first_pieces_ms else None,
    PIECE_GAP: lambda sample: _usual(sample.piece_gaps_ms) if sample.piece_gaps_ms else None,
    COST: lambda sample: sample.service_core_ms_per_unit or None,
    GROWTH: lambda sample: sample.grew_bytes_per_unit,
}


def difference(kind: FigureKind, base: float, head: float) -> float:
    """Return the head's value minus the base's, on the scale on which pairs are averaged; see `as_change`."""
    return math.log(head / base) if kind.is_relative else head - base


def as_change(kind: FigureKind, difference_of_pairs: float) -> float:
    """A mean of `difference` as a share, or in the figure's natural unit."""
    return math.expm1(difference_of_pairs) if kind.is_relative else difference_of_pairs

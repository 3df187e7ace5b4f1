"""Which answers of a cell are slow: those beyond a limit, or beyond what nearly all answers of both arms keep to."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import percentile
from servegate.records import Sample

# Where no limit is set, so many percent of both arms' answers are not slow.
_USUAL_PERCENT = 99


def with_common_limit(result: CellResult) -> CellResult:
    """Call the answers slow that lie beyond the 99th percentile of both arms' answers, where no other limit holds.

    One answer in a hundred is slow where both are alike. Nothing changes where nothing was compared, or too few
    answers were.
    """
    if result.slow_ms is not None or not result.bases:
        return result
    slow_ms = percentile(list_latencies([*result.samples, *result.bases]), _USUAL_PERCENT)
    return result if math.isnan(slow_ms) else replace(result, slow_ms=slow_ms)


def find_slow_share(samples: Sequence[Sample], slow_ms: float | None) -> float | None:
    """The share of all answers that took longer; None without a limit or an answer."""
    latencies_ms = list_latencies(samples)
    if slow_ms is None or not latencies_ms:
        return None
    return count_slow(latencies_ms, slow_ms) / len(latencies_ms)


def count_slow(latencies_ms: Sequence[float], slow_ms: float) -> int:
    """Count the latencies beyond the limit."""
    return sum(latency_ms > slow_ms for latency_ms in latencies_ms)


def list_latencies(samples: Sequence[Sample]) -> Sequence[float]:
    """The latencies of the single answers of all processes that `in_turns` leaves, in ms."""
    return [*chain.from_iterable(sample.felt_latencies_ms for sample in in_turns(samples))]


def in_turns(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Leave the processes that took turns, where some did.

    Later pairs take no turns. Their bursts, in which waits look shorter, would water latencies down.
    """
    return [sample for sample in samples if sample.windows_ms] or samples

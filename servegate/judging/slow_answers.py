"""Which answers of a cell are slow: those beyond a limit, or beyond what nearly all answers of both arms keep to."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import percentile
from servegate.records import Sample

# The answers of both arms that are not slow where no limit is set.
_USUAL_PERCENT = 99


def with_limit(result: CellResult, slow_ms: float) -> CellResult:
    """Have the answers that take longer than this counted as slow, in both arms."""
    # Later pairs take no turns. Their bursts, in which waits look shorter, would water the share down.
    in_turns = any(sample.windows_ms for sample in result.samples)

    def limit(sample: Sample) -> Sample:
        return sample if in_turns and not sample.windows_ms else replace(sample, slow_ms=slow_ms)

    return replace(
        result,
        samples=[limit(sample) for sample in result.samples],
        pairs=[replace(pair, base=limit(pair.base), head=limit(pair.head)) for pair in result.pairs],
    )


def with_common_limit(result: CellResult) -> CellResult:
    """Count the answers beyond the 99th percentile of both arms' together, where no other limit holds.

    One answer in a hundred is slow where both are alike. Nothing changes where nothing was compared, or too few
    answers were.
    """
    if result.slow_ms is not None:
        return result
    arms = [sample for pair in result.pairs for sample in (pair.base, pair.head)]
    slow_ms = percentile(list_latencies([sample for sample in arms if sample.windows_ms] or arms), _USUAL_PERCENT)
    return result if math.isnan(slow_ms) else with_limit(result, slow_ms)


def list_latencies(samples: Sequence[Sample]) -> Sequence[float]:
    """The latencies of all single answers, in ms."""
    return [*chain.from_iterable(sample.felt_latencies_ms for sample in samples)]

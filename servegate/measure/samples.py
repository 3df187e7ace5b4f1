"""From raw figures to samples."""

from collections.abc import Mapping, Sequence

import numpy as np

from servegate.errors import MeasurementError
from servegate.judging.estimators import percentile
from servegate.load.results import LoadResult
from servegate.records import BurstRecord, Cell, Latency, Sample, StageTime, Telemetry
from servegate.telemetry.sampler import combine


def build_sample(cell: Cell, result: LoadResult, telemetry: Telemetry | None) -> Sample:
    """Put a load's result and the telemetry beside it together.

    Raises
    ------
    MeasurementError
        When there is no figure in it.
    """
    if not result.rounds_s and not result.failures:
        raise MeasurementError(
            f"{cell}: {len(result.latencies_ms)} answers were too few to measure; "
            "the server is far too slow, or --perf-seconds too short"
        )
    return Sample(
        rounds_s=tuple(result.rounds_s),
        units_per_round=result.requests_per_round,
        latency=summarise_latency(result.latencies_ms),
        answers=len(result.latencies_ms) + len(result.failures),
        failures=tuple(result.failures),
        telemetry=telemetry,
        client_cores=tuple(result.client_cores),
        stages=result.stages,
        latencies_ms=tuple(result.latencies_ms),
    )


def summarise_latency(latencies_ms: Sequence[float]) -> Latency:
    """Mean and percentiles; NaN without any, and for a percentile that too few answers stand behind."""
    if not latencies_ms:
        return Latency(*[float("nan")] * 4)
    return Latency(float(np.mean(latencies_ms)), *(percentile(latencies_ms, percent) for percent in (50, 95, 99)))


def burst_record(
    units: Sequence[float],
    seconds: Sequence[float],
    *,
    units_per_round: int,
    latencies_ms: Sequence[float],
    failures: Sequence[str] = (),
    telemetry: Sequence[Telemetry],
    client_cores: Sequence[float] = (),
    stages: Mapping[str, StageTime] | None = None,
) -> BurstRecord:
    """A record whose sample has a round for each burst: the time that it took for `units_per_round`.

    A burst in which nothing happened adds its time to the next one's.
    """
    rounds_s: list[float] = []
    waited_s = 0.0
    for done, duration_s in zip(units, seconds, strict=True):
        waited_s += duration_s
        if done:
            rounds_s.append(units_per_round * waited_s / done)
            waited_s = 0.0
    sample = Sample(
        rounds_s=() if failures else tuple(rounds_s),
        units_per_round=units_per_round,
        latency=summarise_latency(latencies_ms),
        answers=len(latencies_ms) + len(failures),
        failures=tuple(failures),
        telemetry=combine(telemetry) if telemetry else None,
        client_cores=tuple(client_cores),
        stages=stages or {},
        burst_rate_per_s=sum(units) / sum(seconds) if units else None,
    )
    return BurstRecord(tuple(units), tuple(seconds), sample)


def unmeasured_record(answers: int, failures: tuple[str, ...]) -> BurstRecord:
    """The record of an arm that wasn't loaded, because of its answers before that or of the other arm's."""
    sample = Sample(
        rounds_s=(),
        units_per_round=1,
        latency=summarise_latency(()),
        answers=answers,
        failures=failures,
        telemetry=None,
    )
    return BurstRecord((), (), sample)


def growth_per_unit(before_bytes: float | None, after_bytes: float | None, units: float) -> float | None:
    """The memory that was kept of each unit; None without a reading or a unit."""
    if before_bytes is None or after_bytes is None or not units:
        return None
    return (after_bytes - before_bytes) / units

"""Samples as a measurement would return them."""

from collections.abc import Iterable, Sequence

from servegate.records import GpuUse, Latency, Sample, Telemetry
from servegate.telemetry.gauges import GAUGES

_UNITS_PER_ROUND = 8
# Throughput of the stored processes of a steady cell.
STORED = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)


def make_sample(
    throughput_per_s: float = 100.0,
    *,
    failures: Sequence[str] = (),
    answers: int = 200,
    client_cores: Sequence[float] = (),
    gpu: GpuUse | None = None,
) -> Sample:
    """One process's sample; like a real one it has no rounds when answers failed."""
    round_s = _UNITS_PER_ROUND / throughput_per_s
    return Sample(
        rounds_s=() if failures else (round_s,) * 5,
        units_per_round=_UNITS_PER_ROUND,
        latency=Latency(mean_ms=10.0, p50_ms=9.5, p95_ms=20.25, p99_ms=30.75),
        answers=answers,
        failures=tuple(failures),
        telemetry=Telemetry(cpu_cores=1.5, gauges=make_gauges(memory_bytes=2**30), gpu=gpu),
        client_cores=tuple(client_cores),
    )


def make_gauges(**known: float) -> dict[str, float]:
    """A level of every gauge, so that a new one changes no test; 1 where nothing else is said."""
    return {**{gauge.name: 1.0 for gauge in GAUGES}, **known}


def make_samples(throughput_per_s: Iterable[float]) -> list[Sample]:
    """One sample for each throughput."""
    return [make_sample(value) for value in throughput_per_s]

"""From raw figures to samples."""

import math

from servegate.measure.samples import summarise_latency


def test_latency_is_summarised_by_mean_and_percentiles() -> None:
    latency = summarise_latency([float(value) for value in range(101)])
    assert (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms) == (50.0, 50.0, 95.0, 99.0)


def test_without_an_answer_there_is_no_latency() -> None:
    latency = summarise_latency([])
    assert all(math.isnan(value) for value in (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms))

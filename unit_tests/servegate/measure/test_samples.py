"""From raw figures to samples."""

import math

import pytest

from servegate.measure.samples import burst_record, summarise_latency


def test_latency_is_summarised_by_mean_and_percentiles() -> None:
    latency = summarise_latency([float(value) for value in range(101)])
    assert (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms) == (50.0, 50.0, 95.0, 99.0)


def test_without_an_answer_there_is_no_latency() -> None:
    latency = summarise_latency([])
    assert all(math.isnan(value) for value in (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms))


@pytest.mark.parametrize(("answers", "known"), [(1, 0), (2, 1), (19, 1), (20, 2), (99, 2), (100, 3)])
def test_a_percentile_that_no_answer_lies_beyond_is_not_told(answers: int, known: int) -> None:
    """It would be the longest latency of few, whatever that happened to be."""
    latency = summarise_latency([1.0] * answers)
    percentiles_ms = [latency.p50_ms, latency.p95_ms, latency.p99_ms]
    assert latency.mean_ms == 1.0
    assert [math.isnan(value) for value in percentiles_ms] == [place >= known for place in range(3)]


def test_a_stall_in_one_burst_counts_as_long_as_it_lasts() -> None:
    """Seven bursts of a quarter of a second complete 25 requests each, and one that stalls completes 1: 88 a second."""
    record = burst_record([25.0] * 7 + [1.0], [0.25] * 8, units_per_round=1, latencies_ms=[10.0], telemetry=[])
    assert record.sample.mean_throughput_per_s == pytest.approx(88.0)
    assert record.sample.throughput_per_s == pytest.approx(100.0)

"""From raw figures to samples."""

import math

import pytest

from servegate.measure.samples import summarise_latency


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

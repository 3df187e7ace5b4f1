"""The figures of a cell over its processes."""

import math
from dataclasses import replace

import pytest

from servegate.judging.cell_result import CellResult
from servegate.measure.samples import unmeasured_record
from servegate.records import Cell, Latency, Sample, Status, Verdict
from servegate.report.figures import benchmark_figures, summarise
from unit_tests.builders.runs.samples import make_sample

NAN = math.nan


def with_latency(mean_ms: float, p50_ms: float, p99_ms: float) -> Sample:
    return replace(make_sample(), latency=Latency(mean_ms, p50_ms, 3.0, p99_ms))


@pytest.mark.parametrize(
    ("p99_ms", "shown"),
    [((4.0, 6.0, 5.0), 5.0), ((4.0, NAN, 5.0), None), ((NAN, NAN, NAN), None)],
    ids=["each", "not one", "none"],
)
def test_a_percentile_is_shown_where_each_process_has_it(p99_ms: tuple[float, ...], shown: float | None) -> None:
    """A slow process answers less often: the others alone would tell of a faster service."""
    summary = summarise([with_latency(2.0, 2.0, value) for value in p99_ms])
    assert (summary["latency_p50_ms"], summary["latency_p99_ms"]) == (2.0, shown)


def test_a_process_that_was_not_loaded_has_no_part_in_a_percentile() -> None:
    unloaded = unmeasured_record(1, ("a dog",)).sample
    summary = summarise([with_latency(2.0, 2.0, 4.0), unloaded])
    assert (summary["latency_p50_ms"], summary["latency_p99_ms"]) == (2.0, 4.0)


def test_a_loaded_process_without_a_whole_answer_leaves_no_percentile() -> None:
    """It is the slowest of all: the others alone would tell of a faster service."""
    summary = summarise([with_latency(2.0, 2.0, 4.0), with_latency(NAN, NAN, NAN)])
    assert (summary["latency_p50_ms"], summary["latency_p99_ms"]) == (None, None)


def test_a_list_for_pytest_benchmark_has_an_entry_for_each_process() -> None:
    samples = [with_latency(2.0, 2.0, 4.0), with_latency(NAN, NAN, NAN)]
    result = CellResult(Cell("api", "concurrency", 8), "requests", samples, Verdict(Status.PASS, ""))
    figures = benchmark_figures(result)
    assert (figures["latency_mean_ms"], figures["latency_p99_ms"]) == ([2.0, None], [4.0, None])
    assert figures["gpu_power_w"] == []


def test_processes_that_took_no_turns_have_no_part_in_a_percentile() -> None:
    """A wait looks shorter in their bursts. Their other figures count."""
    in_turns = replace(make_sample(100.0), windows_ms=((250.0,),), latency_of_turns=Latency(250.0, 250.0, 251.0, 252.0))
    later = replace(make_sample(50.0), client_cores=(0.5,))
    summary = summarise([in_turns, later, later])
    assert [summary[f"latency_p{percent}_ms"] for percent in (50, 95, 99)] == [250.0, 251.0, 252.0]
    assert summary["client_cpu_cores"] == 0.5

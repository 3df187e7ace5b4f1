"""The values of figures: of a process, and of its cells together."""

import math
from dataclasses import replace

import pytest

from servegate.judging.figures.kinds import COST, FIRST_PIECE, GROWTH, MEMORY, PIECE_GAP, START, TAIL, FigureKind
from servegate.judging.figures.values import as_change, difference, read_value, tail_ratio
from servegate.records import ProcessRecord, Sample
from unit_tests.builders.runs.samples import make_sample

PROCESS = ProcessRecord(start_s=6.5, memory_bytes=8e8)


def test_the_slowest_request_of_each_window_counts_against_the_others() -> None:
    """Of twenty latencies of 10 ms, two are late; the trimmed mean doesn't see them."""
    on_time = (10.0,) * 9
    assert tail_ratio([(*on_time, 40.0), (*on_time, 90.0)]) == pytest.approx(6.0)
    assert tail_ratio([(*on_time, 10.0), (*on_time, 10.0)]) == pytest.approx(1.0)


def test_a_stall_counts_once_however_many_requests_it_holds_up() -> None:
    alone, many = (10.0,) * 60 + (250.0,), (10.0,) * 58 + (250.0,) * 3
    assert tail_ratio([alone]) == pytest.approx(tail_ratio([many]))


def test_a_window_without_a_request_says_nothing() -> None:
    assert tail_ratio([(), (10.0, 10.0), ()]) == pytest.approx(1.0)
    assert tail_ratio([(), ()]) is None


def with_turns(slowest_ms: float) -> Sample:
    return replace(make_sample(), windows_ms=((10.0,) * 9 + (slowest_ms,),), grew_bytes_per_unit=slowest_ms)


def test_a_group_has_the_geometric_mean_of_its_cells() -> None:
    assert read_value(TAIL, PROCESS, [with_turns(20.0), with_turns(80.0)]) == pytest.approx(4.0)


@pytest.mark.parametrize("values", [(1.0, 2.0, 900.0), (20.6, 0.4, 23.1, 2.0)])
def test_growth_is_the_median_cells_or_the_lower_of_two(values: tuple[float, ...]) -> None:
    """A cell that allocates memory at its first large batch leaks nothing; two of four cells have done so."""
    assert read_value(GROWTH, PROCESS, [with_turns(value) for value in values]) == 2.0


def test_pieces_are_as_late_as_the_trimmed_mean_of_their_times_and_no_stream_has_none() -> None:
    first_ms, gaps_ms = (1.0, *[20.0] * 8, 900.0), (1.0, *[50.0] * 8, 900.0)
    streamed = replace(make_sample(), first_pieces_ms=first_ms, piece_gaps_ms=gaps_ms)
    for kind, usual_ms in ((FIRST_PIECE, 20.0), (PIECE_GAP, 50.0)):
        assert read_value(kind, PROCESS, [streamed]) == pytest.approx(usual_ms)
        assert read_value(kind, PROCESS, [make_sample()]) is None


def test_cost_is_the_services_cpu_time_for_a_unit() -> None:
    sample = make_sample(50.0)
    assert sample.telemetry is not None
    assert read_value(COST, PROCESS, [sample]) == pytest.approx(sample.telemetry.cpu_cores / 50.0 * 1e3)


@pytest.mark.parametrize("kind", [TAIL, COST, GROWTH])
def test_without_one_of_its_cells_a_figure_has_no_value(kind: FigureKind) -> None:
    """Without one of its cells it would be another figure than in the pairs before."""
    wrong = replace(with_turns(20.0), failures=("a dog",))
    for missing in (None, wrong):
        assert read_value(kind, PROCESS, [with_turns(20.0), missing]) is None


def test_memory_and_start_are_the_processes() -> None:
    assert read_value(MEMORY, PROCESS, []) == 8e8
    assert read_value(START, PROCESS, []) == 6.5
    assert read_value(START, ProcessRecord(None, None), []) is None


def test_ratios_and_differences() -> None:
    assert as_change(START, difference(START, 4.0, 5.0)) == pytest.approx(0.25)
    assert difference(START, 4.0, 5.0) == pytest.approx(math.log(1.25))
    assert as_change(GROWTH, difference(GROWTH, -100.0, 20_000.0)) == pytest.approx(20_100.0)

"""What a client saw becomes rounds, latencies and stages, here and over the line that it travels on."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from servegate.load.requests import Completion
from servegate.load.results import LoadResult, SteadyResult, cut_windows, parse_result, parse_steady_result
from servegate.records import StageTime


def every(period_s: float, count: int, start_s: float = 100.0) -> list[float]:
    """Moments of completion, one after the other."""
    return [start_s + number * period_s for number in range(count)]


@pytest.mark.parametrize(
    ("period_s", "count", "concurrency", "window_s", "size"),
    [
        pytest.param(1.0, 41, 4, 4.0, 4, id="slow: as many as there are connections"),
        pytest.param(2.0**-3, 41, 4, 0.5, 4, id="just as fast that these last half a second"),
        pytest.param(2.0**-4, 41, 4, 0.5, 8, id="twice as fast: two for each connection"),
        pytest.param(0.124, 41, 4, 0.992, 8, id="a little too fast for one"),
        pytest.param(2.0**-10, 41, 4, 40 / 1024, 40, id="all of them where it was short"),
        pytest.param(2.0**-10, 40, 4, 36 / 1024, 36, id="as many generations as there are"),
        pytest.param(1.0, 5, 4, 4.0, 4, id="just enough for one"),
        pytest.param(1.0, 2, 1, 1.0, 1, id="two of one connection"),
    ],
)
def test_a_window_is_whole_generations_and_half_a_second_at_least(
    period_s: float, count: int, concurrency: int, window_s: float, size: int
) -> None:
    """A generation is one completion a connection."""
    windows_s, in_a_window = cut_windows(every(period_s, count), concurrency)
    assert in_a_window == size
    assert len(windows_s) == (count - 1) // size
    assert windows_s == pytest.approx([window_s] * len(windows_s))


def test_windows_follow_the_load() -> None:
    """Each lasts as long as its own completions took."""
    completed_at_s = [0.0, 1.0, 2.0, 5.0, 8.0, 9.0]
    assert cut_windows(completed_at_s, 2) == ([2.0, 6.0], 2)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_completion_a_connection_is_no_window(count: int) -> None:
    """A window lies between two of them."""
    assert cut_windows(every(1.0, count), 4) == ([], 4)


def _completions() -> list[Completion]:
    """Of two connections, in no order."""
    timing = "decode;dur=2;cpu=1, predict;dur=8;cpu=6;shared=2"
    return [Completion(at_s, 0.25 * (number + 1), timing) for number, at_s in enumerate(every(1.0, 5))][::-1]


def test_a_load_is_its_completions_in_order() -> None:
    result = LoadResult.from_completions(_completions(), 2, [], 0.5)
    assert (result.rounds_s, result.requests_per_round) == ([2.0, 2.0], 2)
    assert result.latencies_ms == [250.0, 500.0, 750.0, 1000.0, 1250.0]
    assert (result.failures, result.client_cpu_cores) == ([], 0.5)
    assert result.stages == {"decode": StageTime(2.0, 1.0), "predict": StageTime(8.0, 3.0)}


def test_a_load_that_broke_off_has_no_rounds() -> None:
    """What was right is still told."""
    result = LoadResult.from_completions(_completions(), 2, ["status 500"], 0.5)
    assert (result.rounds_s, result.requests_per_round, result.failures) == ([], 2, ["status 500"])
    assert len(result.latencies_ms) == 5


def test_results_travel_as_one_line() -> None:
    """As the client writes them: each comes out as it went in."""
    result = LoadResult.from_completions(_completions(), 2, ["status 500"], 0.5)
    assert parse_result(json.dumps({"result": asdict(result)})) == result
    steady = SteadyResult(_completions(), ["status 500"], 1.5)
    document = {**vars(steady), "completions": [list(item) for item in steady.completions]}
    parsed = parse_steady_result(json.dumps({"result": document}))
    assert parsed == steady
    assert parsed.completions[0].at_s == 104.0


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_windows_cover_a_noisy_load_but_for_its_last_part(concurrency: int) -> None:
    """Their mean rate is the load's."""
    completed_at_s = np.cumsum(np.random.default_rng(5).exponential(0.05, 500)).tolist()
    windows_s, size = cut_windows(completed_at_s, concurrency)
    whole = len(windows_s) * size
    assert 500 - 1 - size < whole <= 500 - 1
    assert math.fsum(windows_s) == pytest.approx(completed_at_s[whole] - completed_at_s[0])

"""What a client saw becomes rounds, latencies and stages, here and over the line that it travels on."""

import math

import numpy as np
import pytest

from servegate.load.requests import Completion
from servegate.load.results import ClientRecord, LoadResult, MeasuredClient, cut_windows
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
    """Make the completions of two connections in order: answered at 100 to 104 s, sent 0.25 to 1.25 s before."""
    timing = "decode;dur=2;cpu=1, predict;dur=8;cpu=6;shared=2"
    return [Completion(at_s, 0.25 * (number + 1), timing) for number, at_s in enumerate(every(1.0, 5))]


def _record(
    completions: list[Completion], began_s: float = 100.0, ended_s: float = 104.0, failures: tuple[str, ...] = ()
) -> ClientRecord:
    """Make the record of one process that used a quarter of its core."""
    return ClientRecord(completions, [*failures], [MeasuredClient(began_s, ended_s, (ended_s - began_s) / 4)])


def test_a_load_is_its_completions_in_order() -> None:
    """Those of the first and the last moment are among them."""
    result = LoadResult.of_closed_loop(_record(_completions()), 2)
    assert (result.rounds_s, result.requests_per_round) == ([2.0, 2.0], 2)
    assert result.latencies_ms == [250.0, 500.0, 750.0, 1000.0, 1250.0]
    assert (result.failures, result.client_cores) == ([], [0.25])
    assert result.stages == {"decode": StageTime(2.0, 1.0), "predict": StageTime(8.0, 3.0)}


def test_a_load_that_broke_off_has_no_rounds() -> None:
    """What was right is still told."""
    result = LoadResult.of_closed_loop(_record(_completions(), failures=("status 500",)), 2)
    assert (result.rounds_s, result.requests_per_round, result.failures) == ([], 2, ["status 500"])
    assert len(result.latencies_ms) == 5


def test_a_closed_loop_is_what_was_answered_while_it_was_measured() -> None:
    """Whenever it was sent; the answers to what was in flight at the end come too late."""
    result = LoadResult.of_closed_loop(_record(_completions(), 100.5, 103.5), 1)
    assert result.latencies_ms == [500.0, 750.0, 1000.0]
    assert (result.rounds_s, result.requests_per_round) == ([1.0, 1.0], 1)


def test_an_open_loop_is_what_was_sent_while_it_was_measured() -> None:
    """At 99.75, 100.5, 101.25, 102 and 102.75 s, however long the answer took; a round is of one request at least."""
    result = LoadResult.of_open_loop(_record(_completions(), 100.5, 102.0))
    assert result.latencies_ms == [500.0, 750.0, 1000.0]
    assert (result.rounds_s, result.requests_per_round) == ([1.0, 1.0], 1)
    assert result.client_cores == [0.25]


def test_processes_that_share_a_load_have_one_record() -> None:
    """Its completions are in order, and its time is that in which all measured; each process has its own CPU time."""
    first, *others = _completions()
    one = ClientRecord([others[0], others[2]], ["a"], [MeasuredClient(100.5, 103.5, 0.75)])
    two = ClientRecord([first, others[1], others[3]], ["b"], [MeasuredClient(100.0, 102.0, 1.5)])
    merged = ClientRecord.merge([one, two])
    assert merged.completions == _completions()
    assert merged.failures == ["a", "b"]
    assert merged.clients == [*one.clients, *two.clients]
    assert merged.measured_s == (100.5, 102.0)
    assert ClientRecord.merge([two, one]).measured_s == (100.5, 102.0)
    assert LoadResult.of_closed_loop(merged, 2).client_cores == [0.25, 0.75]


def test_records_travel_as_one_line() -> None:
    """As a client writes them: each comes out as it went in."""
    record = _record(_completions(), failures=("status 500",))
    line = record.to_json()
    assert "\n" not in line
    parsed = ClientRecord.from_json(line)
    assert parsed == record
    assert parsed.completions[0].at_s == 100.0
    assert parsed.measured_s == (100.0, 104.0)


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_windows_cover_a_noisy_load_but_for_its_last_part(concurrency: int) -> None:
    """Their mean rate is the load's."""
    completed_at_s = np.cumsum(np.random.default_rng(5).exponential(0.05, 500)).tolist()
    windows_s, size = cut_windows(completed_at_s, concurrency)
    whole = len(windows_s) * size
    assert 500 - 1 - size < whole <= 500 - 1
    assert math.fsum(windows_s) == pytest.approx(completed_at_s[whole] - completed_at_s[0])

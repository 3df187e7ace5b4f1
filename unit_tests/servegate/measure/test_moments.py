"""Arithmetic on moments: running time, shares of requests, and the windows of turns."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegate.load.server_timing import StageSpan
from servegate.measure.moments import cut_turns, running_time, share_out, without_pauses


def test_pauses_are_taken_out_of_stages() -> None:
    """One that began before a pause and ended after it, one within a burst, and one of which no end is known."""
    unix_s = time.time() - time.monotonic()
    ran_s = np.array([[10.0, 11.0], [20.0, 22.0]])
    over, within, unknown = (
        StageSpan("predict", 10.0, 0.1, 1, unix_s + 20.5),
        StageSpan("encode", 0.25, 0.1, 1, unix_s + 21.0),
        StageSpan("cache", 1.0, None, 1, None),
    )
    running = without_pauses([over, within, unknown], ran_s)
    assert [span.name for span in running] == ["predict", "encode"]
    assert [span.duration_s for span in running] == pytest.approx([1.0, 0.25], abs=1e-3)


def test_the_time_that_a_process_ran_stands_still_between_its_bursts() -> None:
    ran_s = np.array([[10.0, 11.0], [20.0, 22.0]])
    moments_s = np.array([10.0, 10.5, 11.0, 15.0, 20.0, 21.0, 22.0])
    assert running_time(moments_s, ran_s).tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 3.0]


def test_a_request_counts_by_the_share_of_its_time() -> None:
    """One before the first burst, one over the first edge by a quarter, one within, one over two bursts, one after."""
    began_s = np.array([-2.0, -3.0, 0.2, 0.5, 2.5])
    ended_s = np.array([-1.0, 1.0, 0.7, 1.5, 3.5])
    assert share_out(began_s, ended_s, np.array([0.0, 1.0, 2.0])) == pytest.approx([0.25 + 1.0 + 0.5, 0.5])


@given(
    concurrency=st.integers(1, 64),
    latency_s=st.floats(0.01, 2.0),
    burst_s=st.floats(0.05, 1.0),
    late=st.floats(0.0, 1.0),
)
def test_a_steady_load_counts_alike_in_every_burst(
    concurrency: int, latency_s: float, burst_s: float, late: float
) -> None:
    """However its answers come in batches: concurrency over latency, by Little's law, in each burst."""
    began_s = np.repeat((np.arange(-2, 10 / latency_s + 2) + late) * latency_s, concurrency)
    units = share_out(began_s, began_s + latency_s, np.arange(0.0, 10.0, burst_s))
    assert units == pytest.approx([concurrency * burst_s / latency_s] * len(units))


def test_requests_that_take_no_time_or_hardly_any_are_shared_out_too() -> None:
    """A clock may be too coarse for them; one of a billionth of a second is whole within its stretch."""
    edges_s = np.array([0.0, 1.0])
    assert share_out(np.array([0.5]), np.array([0.5]), edges_s) == [0.0]
    began_s = np.array([0.25])
    assert share_out(began_s, began_s + 2.0**-29, edges_s) == [1.0]


def test_a_turns_requests_are_told_by_the_window_that_they_were_sent_in() -> None:
    """A rest of less than half a window belongs to the last; requests before or after a turn belong to none."""
    sent_s = np.array([9.9, 10.0, 10.4, 10.5, 11.1, 11.3, 20.2])
    ended_s = sent_s + np.array([0.1, 0.1, 0.2, 0.7, 0.3, 0.1, 0.4])
    first, second, third = cut_turns(sent_s, ended_s, [(10.0, 11.2), (20.0, 20.6)])
    assert [first, second, third] == [
        pytest.approx((100.0, 200.0)),
        pytest.approx((700.0, 300.0)),
        pytest.approx((400.0,)),
    ]

"""What a stage took, and how an answer tells it."""

import time

import pytest

from service.stages import StageSpan, server_timing


def test_spans_are_told_in_their_order() -> None:
    """Times in ms; without a CPU time where a stage only waits, without a size where it was a request's own."""
    spans = [
        StageSpan("decode", 0.001912, 0.00185, 1795426500.123456),
        StageSpan("queue", 0.0031, None, 1795426500.2),
        StageSpan("predict", 0.0841, 0.0802, 1795426500.3, shared=8),
    ]
    assert server_timing(spans) == (
        "decode;dur=1.912;cpu=1.850;end=1795426500.123456, queue;dur=3.100;end=1795426500.200000, "
        "predict;dur=84.100;cpu=80.200;shared=8;end=1795426500.300000"
    )


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_is_measured_whether_it_succeeds_or_not(fails: bool) -> None:
    """Sleeping takes time and no CPU; what another clock counts is that clock's."""
    span, counted_s = StageSpan("predict"), iter([5.0, 5.25])
    began_s = time.time()
    try:
        with span.measure(lambda: next(counted_s)):
            time.sleep(0.02)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert span.took_s >= 0.02
    assert span.cpu_s == 0.25
    assert began_s + 0.02 <= span.ended_at_s + 1e-3 <= time.time() + 1e-3


def test_a_threads_own_cpu_time_counts() -> None:
    span = StageSpan("encode")
    with span.measure():
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass
    assert span.cpu_s is not None
    assert 0.02 <= span.cpu_s <= span.took_s + 0.005

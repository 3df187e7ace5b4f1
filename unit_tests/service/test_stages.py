"""What a stage took, and how an answer tells it."""

import time

import pytest

from service.stages import BatchStages, StageTimer, server_timing


def test_spans_are_told_in_their_order() -> None:
    """Times in ms; without a CPU time where a stage only waits, without a size where it was a request's own."""
    timers = [
        StageTimer("decode", 0.001912, 0.00185, 1795426500.123456),
        StageTimer("queue", 0.0031, None, 1795426500.2),
        StageTimer("predict", 0.0841, 0.0802, 1795426500.3, shared=8),
    ]
    assert server_timing(timers) == (
        "decode;dur=1.912;cpu=1.850;end=1795426500.123456, queue;dur=3.100;end=1795426500.200000, "
        "predict;dur=84.100;cpu=80.200;shared=8;end=1795426500.300000"
    )


def test_a_batchs_stages_are_read_as_they_were_written() -> None:
    """As numbers, which all its requests share."""
    stages = BatchStages.begin(64)
    for stage, duration_s in ((stages.batch, 0.25), (stages.predict, 0.5)):
        stage.duration_s, stage.cpu_s, stage.ended_at_s = duration_s, duration_s / 2, 1e9 + duration_s
    numbers = stages.to_numbers()
    assert len(numbers) == BatchStages.NUMBERS
    assert BatchStages.from_numbers(numbers) == stages
    queue, batch, predict = stages.list_for_request(stages.began_s - 2.0)
    assert (queue.stage, queue.cpu_s, queue.shared, queue.ended_at_s) == ("queue", None, 1, stages.began_at_s)
    assert queue.duration_s == pytest.approx(2.0)
    assert (batch.stage, predict.stage, predict.shared) == ("batch", "predict", 64)


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_is_measured_whether_it_succeeds_or_not(fails: bool) -> None:
    """Sleeping takes time and no CPU; what another clock counts is that clock's."""
    timer, counted_s = StageTimer("predict"), iter([5.0, 5.25])
    began_s = time.time()
    try:
        with timer.measure(lambda: next(counted_s)):
            time.sleep(0.02)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert timer.duration_s >= 0.02
    assert timer.cpu_s == 0.25
    assert began_s + 0.02 <= timer.ended_at_s + 1e-3 <= time.time() + 1e-3


def test_a_threads_own_cpu_time_counts() -> None:
    timer = StageTimer("encode")
    with timer.measure():
        end_s = time.thread_time() + 0.02
        while time.thread_time() < end_s:
            pass
    assert timer.cpu_s is not None
    assert 0.02 <= timer.cpu_s <= timer.duration_s + 0.005

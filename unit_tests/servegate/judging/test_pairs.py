"""One pair of fresh processes becomes one figure, block by block; what stalls or fails is no figure."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from servegate.errors import MeasurementError
from servegate.judging.pairs import PairFigure, pair_figure
from servegate.records import BurstRecord, Cell, StageTime
from unit_tests.builders.runs.samples import make_sample

CELL = Cell("api", "concurrency", 8)
LOG_2 = math.log(2)


def record(units: Sequence[float], seconds: Sequence[float] | None = None, failures: Sequence[str] = ()) -> BurstRecord:
    return BurstRecord(tuple(units), tuple(seconds or [1.0] * len(units)), make_sample(failures=failures))


def test_a_block_is_two_bursts_of_either_arm() -> None:
    """What was done in both over the time of both, however it is shared out between them."""
    base = record([4, 8, 1, 2], [1.0, 2.0, 1.0, 0.5])
    head = record([24, 0, 1, 7], [2.0, 1.0, 3.0, 1.0])
    figure = pair_figure(CELL, base, head, seconds=2.5)
    assert figure.blocks == pytest.approx((LOG_2, 0.0))  # 8 against 4 a second, and 2 against 2
    assert figure.log_ratio == pytest.approx(LOG_2 / 2)
    assert (figure.base, figure.head, figure.seconds, figure.start_seconds) == (base.sample, head.sample, 2.5, 0.0)


def test_it_is_the_mean_of_the_blocks_and_the_robust_one_is_shown() -> None:
    """Half of the blocks, a quarter at either end, make no difference to the robust one."""
    base = record([1] * 16)
    head = record([1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 64, 64, 1, 1])
    figure = pair_figure(CELL, base, head, 1.0)
    assert figure.log_ratio == pytest.approx((0 + 1 + 1 + 2 + 2 + 3 + 6 + 0) / 8 * LOG_2)
    assert figure.robust_log_ratio == pytest.approx((1 + 1 + 2 + 2) / 4 * LOG_2)
    assert pair_figure(CELL, head, base, 1.0).log_ratio == pytest.approx(-figure.log_ratio)


def test_what_its_blocks_say_of_its_variance() -> None:
    """That of a mean: the sample's variance over the number of blocks."""
    figure = pair_figure(CELL, record([1] * 8), record([1, 1, 2, 2, 4, 4, 8, 8]), 1.0)
    assert figure.variance == pytest.approx(np.var([0, 1, 2, 3], ddof=1) * LOG_2**2 / 4)


def test_a_stall_through_both_bursts_of_an_arm_is_half_a_unit() -> None:
    """The service's own stalls count; one without an end would count for nothing else."""
    figure = pair_figure(CELL, record([4] * 8), record([4, 4, 4, 4, 0, 0, 4, 4]), 1.0)
    assert figure.blocks == pytest.approx((0.0, 0.0, math.log(0.5 / 8), 0.0))


@pytest.mark.parametrize("arm", ["base", "head"])
def test_after_a_wrong_answer_there_is_no_figure(arm: str) -> None:
    """What was measured is kept, for what it says of the failure."""
    right, wrong = record([1, 1]), record([1, 1], failures=["status 500"])
    base, head = (wrong, right) if arm == "base" else (right, wrong)
    figure = pair_figure(CELL, base, head, 1.5)
    assert math.isnan(figure.log_ratio)
    assert (figure.blocks, figure.base, figure.head, figure.seconds) == ((), base.sample, head.sample, 1.5)


def test_a_stall_of_both_arms_is_no_block() -> None:
    """One of either arm alone is one."""
    base, head = record([1, 1, 0, 0, 1, 1, 0, 3]), record([2, 2, 0, 0, 4, 0, 6, 0])
    assert pair_figure(CELL, base, head, 1.0).blocks == pytest.approx((LOG_2,) * 3)


@pytest.mark.parametrize(
    ("base", "head"),
    [
        pytest.param([1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0], id="half of the blocks left"),
        pytest.param([0] * 4, [0] * 4, id="nothing at all"),
        pytest.param([1] * 4, [1, 1, 0, 0], id="one of two stalled"),
        pytest.param([0, 0, 0, 0, 1, 1, 1, 1], [1] * 8, id="two of four stalled"),
    ],
)
def test_where_most_stands_still_nothing_is_measured(base: list[float], head: list[float]) -> None:
    said = r"^api\[concurrency=8\]: nothing happened in most bursts; a server stands still, or is far too slow$"
    with pytest.raises(MeasurementError, match=said):
        pair_figure(CELL, record(base), record(head), 1.0)


def test_a_pair_is_stored_with_as_many_digits_as_have_a_meaning() -> None:
    base, head = make_sample(123.456), make_sample(98.7654)
    figure = PairFigure(-0.123456, (-0.123456, 0.0), base, head, seconds=12.345, start_seconds=6.789)
    assert figure.to_json() == {
        "log_ratio": -0.12346,
        "blocks": [-0.1235, 0.0],
        "base_per_s": [123.5] * 5,
        "head_per_s": [98.77] * 5,
        "seconds": 12.3,
        "start_seconds": 6.8,
    }
    assert replace(figure, log_ratio=math.nan).to_json()["log_ratio"] is None


def test_the_parts_of_a_request_are_those_of_either_arm() -> None:
    base, head = (replace(make_sample(), stages={"predict": StageTime(ms, ms)}) for ms in (4.0, 5.0))
    parts = PairFigure(0.0, (), base, head, 1.0).parts
    assert [arm["predict"].ms for arm in parts] == [4.0, 5.0]

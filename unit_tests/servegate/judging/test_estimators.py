"""The statistics, against scipy's independent ones and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from servegate.judging.estimators import (
    geometric_mean,
    mean_of_known,
    midmean,
    most_of_known,
    paired_mean,
    predict_mean,
    robust_spread,
    single_difference,
    typical_rate,
)

STORED = [4.61, 4.52, 4.71, 4.66, 4.49, 4.58, 4.75, 4.60]


@pytest.mark.parametrize("new", [[4.1], [4.5, 4.6], [4.3, 4.4, 4.5], [4.3, 4.4, 4.5, 4.9, 4.7]])
def test_location_and_spread_are_scipys_trimmed_and_winsorised(new: list[float]) -> None:
    """Scipy's trim_mean, and Yuen's standard error from mstats for the trimmed mean of the stored ones."""
    prediction = predict_mean(STORED, new)
    new_location = np.median(new) if len(new) == 3 else stats.trim_mean(new, 0.2)
    assert prediction.difference == pytest.approx(new_location - stats.trim_mean(STORED, 0.2))
    # scipy divides by the share that was asked to stay, 0.6; of eight, one at either end leaves 0.75.
    yuen = stats.mstats.trimmed_stde(np.array(STORED), limits=(0.2, 0.2), inclusive=(True, True)) * 0.6 / 0.75
    assert robust_spread(STORED) / math.sqrt(8) == pytest.approx(float(yuen))
    factor = 1.5 * (1 / 8 + 1 / len(new))
    assert prediction.standard_error == pytest.approx(robust_spread(STORED) * math.sqrt(factor))
    assert prediction.degrees_of_freedom == 5


@pytest.mark.parametrize("disturbed", [0, 3, 7])
def test_one_disturbed_process_neither_accuses_nor_blinds(disturbed: int) -> None:
    """A twentieth of its speed, among the stored ones or among the new."""
    stored = [value - (3.0 if index == disturbed else 0.0) for index, value in enumerate(STORED)]
    assert predict_mean(stored, [4.6, 4.5, 4.7]).standard_error < 2 * predict_mean(STORED, [4.6]).standard_error
    assert predict_mean(STORED, [4.6, 1.6, 4.7]).difference == pytest.approx(0.0, abs=0.1)


def test_runs_of_identical_code_are_accused_at_the_error_level_at_most() -> None:
    """Over 20,000 simulated runs: 3 new processes against 8 stored ones. Conservative, but not by more than half."""
    draws = 20_000
    values = np.random.default_rng(20_240).normal(4.6, 0.15, (draws, 11)).tolist()
    predictions = [predict_mean(row[:8], row[8:]) for row in values]
    t_values = np.array([prediction.difference / prediction.standard_error for prediction in predictions])
    for level in (0.01, 0.05):
        accused = np.mean(t_values < stats.t.ppf(level, predictions[0].degrees_of_freedom))
        assert level / 2 < accused < level + 4 * math.sqrt(level * (1 - level) / draws)


def test_p_and_bounds_agree() -> None:
    """The rise whose interval ends at 0 is exactly the one that has p = 1 - confidence of a rise that large."""
    prediction = predict_mean(STORED, [4.9, 4.8])
    assert prediction.half_width(1 - prediction.p_higher()) == pytest.approx(prediction.difference)


@pytest.mark.parametrize(("difference", "p_lower", "p_higher"), [(-0.5, 0.0, 1.0), (0.0, 0.5, 0.5), (0.5, 1.0, 0.0)])
def test_without_any_spread_every_change_is_certain(difference: float, p_lower: float, p_higher: float) -> None:
    prediction = single_difference(difference, standard_error=0.0, degrees_of_freedom=7)
    assert (prediction.p_lower(), prediction.p_higher()) == pytest.approx((p_lower, p_higher))
    assert prediction.half_width(0.95) == 0.0


@pytest.mark.parametrize(("stored", "new"), [([], [1.0]), ([1.0], [1.0]), ([1.0, 2.0], [])])
def test_too_few_observations_are_refused_with_their_counts(stored: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match=f"got {len(stored)} and {len(new)}"):
        predict_mean(stored, new)


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_geometric_mean_is_scipys(values: list[float]) -> None:
    assert geometric_mean(values) == pytest.approx(float(stats.gmean(values)), rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 9, 16])
def test_the_midmean_is_scipys(count: int) -> None:
    values = np.random.default_rng(count).exponential(1.0, count)
    assert midmean(values.tolist()) == pytest.approx(float(stats.trim_mean(values, 0.25)))


@pytest.mark.parametrize("count", [2, 3, 9])
def test_paired_differences_are_judged_by_scipys_t_test(count: int) -> None:
    values = np.random.default_rng(count).normal(0.1, 0.2, count)
    ours = paired_mean(values.tolist())
    assert ours.p_lower() == pytest.approx(float(stats.ttest_1samp(values, 0.0, alternative="less").pvalue))
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    change = ours.as_change()
    assert (change.low, change.high) == pytest.approx((np.expm1(interval.low), np.expm1(interval.high)))


@pytest.mark.parametrize(
    ("count", "of_stored", "of_new"), [(1, 0, 0), (2, 0, 0), (3, 0, 1), (4, 0, 1), (5, 1, 1), (9, 1, 1), (10, 2, 2)]
)
def test_one_in_five_is_left_out_at_either_end_and_of_few_new_ones_one(count: int, of_stored: int, of_new: int) -> None:
    rates = np.random.default_rng(count).exponential(100.0, count)
    ordered = np.sort(rates)
    for stored, left_out in ((True, of_stored), (False, of_new)):
        expected = float(stats.gmean(ordered[left_out : count - left_out]))
        assert typical_rate(rates.tolist(), stored=stored) == pytest.approx(expected)


def test_figures_that_are_not_known_do_not_count() -> None:
    assert mean_of_known([None, 1.0, None, 4.0]) == 2.5
    assert most_of_known([None, 1.0, None, 4.0]) == 4.0
    assert mean_of_known([None]) is mean_of_known([]) is None
    assert most_of_known([None]) is most_of_known([]) is None

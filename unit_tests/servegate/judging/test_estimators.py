"""The statistics, against scipy's independent ones and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from servegate.judging.estimators import (
    MeanDifference,
    geometric_mean,
    mean_of_known,
    mean_of_pairs,
    midmean,
    midmean_variance,
    most_of_known,
    paired_mean,
    predict_mean,
    robust_spread,
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
    """The drop whose lower bound is 0 is exactly the one that has p = 1 - confidence of a rise that large."""
    prediction = predict_mean(STORED, [4.9, 4.8])
    confidence = 1 - prediction.p_higher()
    assert prediction.lower_bound(confidence) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("difference", "p_lower", "p_higher"), [(-0.5, 0.0, 1.0), (0.0, 1.0, 1.0), (0.5, 1.0, 0.0)])
def test_without_any_spread_every_change_is_certain(difference: float, p_lower: float, p_higher: float) -> None:
    prediction = MeanDifference(difference, standard_error=0.0, degrees_of_freedom=7)
    assert (prediction.p_lower(), prediction.p_higher()) == (p_lower, p_higher)
    assert prediction.lower_bound(0.95) == prediction.upper_bound(0.95) == difference


@pytest.mark.parametrize(("stored", "new"), [([], [1.0]), ([1.0], [1.0]), ([1.0, 2.0], [])])
def test_too_few_observations_are_refused_with_their_counts(stored: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match=f"got {len(stored)} and {len(new)}"):
        predict_mean(stored, new)


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_geometric_mean_is_scipys(values: list[float]) -> None:
    assert geometric_mean(values) == pytest.approx(float(stats.gmean(values)), rel=1e-9)


def test_the_variance_of_a_midmean_is_scipys() -> None:
    """But for its degrees of freedom: it divides by n (n - 1) shares of the kept squared, here by kept (kept - 1)."""
    values = [0.02, -0.05, 0.11, 0.01, -0.02, 0.04, 0.9, -0.03]
    stde = float(stats.mstats.trimmed_stde(np.array(values), limits=(0.25, 0.25), inclusive=(True, True)))
    assert midmean_variance(values) == pytest.approx(stde**2 * (8 - 1) * 8 * 0.5**2 / (4 * 3))


@pytest.mark.parametrize("blocks", [2, 4, 8, 13])
def test_the_variance_of_a_midmean_is_what_midmeans_vary_by(blocks: int) -> None:
    """Over 4,000 simulated pairs."""
    values = np.random.default_rng(3).normal(0, 1, (4_000, blocks))
    midmeans = stats.trim_mean(values, blocks // 4 / blocks, axis=1)
    assert np.mean([midmean_variance(row) for row in values.tolist()]) == pytest.approx(np.var(midmeans), rel=0.25)


def test_few_pairs_are_judged_by_what_their_blocks_say_as_well() -> None:
    """Three pairs that happen to agree are not taken for certain, and many pairs speak for themselves."""
    agreeing = mean_of_pairs([-0.05, -0.0501, -0.0499], [0.0008] * 3)
    assert agreeing.standard_error == pytest.approx(math.sqrt((6 * 0.0009) / 8 / 3), rel=1e-3)
    assert agreeing.degrees_of_freedom == 8
    values = np.random.default_rng(4).normal(0, 0.05, 500)
    many = mean_of_pairs(values.tolist(), [0.0] * 500)
    assert many.p_lower() == pytest.approx(stats.ttest_1samp(values, 0.0, alternative="less").pvalue, abs=0.01)


def test_a_noisy_pair_says_less_than_calm_ones() -> None:
    """By the inverse of its variance, which lies halfway between its own and the mean of all, and 1 % squared."""
    together = mean_of_pairs([-0.05, -0.05, 0.15], [0.0002, 0.0002, 0.0302])
    weights = np.array([1 / (0.0052 + 0.0001), 1 / (0.0052 + 0.0001), 1 / (0.0202 + 0.0001)])
    mean = np.average([-0.05, -0.05, 0.15], weights=weights)
    assert together.difference == pytest.approx(mean)
    factor = (6 + (weights * (np.array([-0.05, -0.05, 0.15]) - mean) ** 2).sum()) / 8
    assert together.standard_error == pytest.approx(math.sqrt(factor / weights.sum()))


@pytest.mark.parametrize("seed", range(3))
def test_the_weighted_mean_is_hartungs_and_knapps_where_nothing_is_known_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their variance of a weighted mean, sum w (y - mean)^2 / ((k - 1) sum w) on k - 1 degrees, by numpy."""
    monkeypatch.setattr("servegate.judging.estimators._PRIOR_DEGREES", 0)
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.0001, 0.01, 9)
    values = rng.normal(0.02, np.sqrt(variances))
    weights = 1 / ((variances + variances.mean()) / 2 + 0.01**2)
    mean = np.average(values, weights=weights)
    squared = np.average((values - mean) ** 2, weights=weights) / 8
    ours = mean_of_pairs(values.tolist(), variances.tolist())
    assert (ours.difference, ours.standard_error) == pytest.approx((mean, math.sqrt(squared)))
    assert ours.degrees_of_freedom == 8


@pytest.mark.parametrize(("differences", "variances"), [([0.1], [0.1]), ([0.1, 0.2], [0.1]), ([], [])])
def test_pairs_without_a_variance_are_refused(differences: list[float], variances: list[float]) -> None:
    with pytest.raises(ValueError, match=f"got {len(differences)} and {len(variances)}"):
        mean_of_pairs(differences, variances)


def test_two_pairs_are_enough() -> None:
    """Both weigh the same: their own factor is (0.01 / 0.0101) on one degree of freedom, the prior's 1 on six."""
    together = mean_of_pairs([0.1, 0.3], [0.01, 0.01])
    assert together.difference == pytest.approx(0.2)
    assert together.degrees_of_freedom == 7
    assert together.standard_error == pytest.approx(math.sqrt((6 + 0.02 / 0.0101) / 7 * 0.0101 / 2))


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

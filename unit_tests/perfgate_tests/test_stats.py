"""The statistics, against scipy's independent ones and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfgate.stats import MeanDifference, geometric_mean, predict_mean

STORED = [4.61, 4.52, 4.71, 4.66, 4.49, 4.58, 4.75, 4.60]


@pytest.mark.parametrize("new", [4.1, 4.5, 4.615, 4.9])
def test_one_new_observation_is_tested_as_in_a_two_sample_t_test(new: float) -> None:
    """With one new observation the pooled variance is the stored ones' alone, so both tests are the same."""
    prediction = predict_mean(STORED, [new])
    for p, alternative in ((prediction.p_lower(), "less"), (prediction.p_higher(), "greater")):
        reference = stats.ttest_ind_from_stats(
            new, 0.0, 1, np.mean(STORED), np.std(STORED, ddof=1), len(STORED), alternative=alternative
        )
        assert p == pytest.approx(reference.pvalue, rel=1e-9)


def test_bounds_are_the_prediction_interval_of_the_textbook() -> None:
    """Hahn and Meeker: mean -+ t(confidence, n - 1) * s * sqrt(1/m + 1/n)."""
    new = [4.3, 4.4, 4.5]
    prediction = predict_mean(STORED, new)
    low, high = stats.t(
        df=7, loc=np.mean(new) - np.mean(STORED), scale=np.std(STORED, ddof=1) * math.sqrt(1 / 3 + 1 / 8)
    ).interval(0.95)
    assert prediction.lower_bound(0.975) == pytest.approx(low, rel=1e-9)
    assert prediction.upper_bound(0.975) == pytest.approx(high, rel=1e-9)


def test_the_interval_covers_as_often_as_it_says_when_nothing_has_changed() -> None:
    """Over 20,000 simulated runs of identical code: 3 new processes against 8 stored ones."""
    draws = 20_000
    values = np.random.default_rng(20_240).normal(4.6, 0.15, (draws, 11)).tolist()
    predictions = [predict_mean(row[:8], row[8:]) for row in values]
    t_values = np.array([prediction.difference / prediction.standard_error for prediction in predictions])
    for level in (0.01, 0.05, 0.5, 0.95):
        four_standard_errors = 4 * math.sqrt(level * (1 - level) / draws)
        assert np.mean(t_values < stats.t.ppf(level, predictions[0].degrees_of_freedom)) == pytest.approx(
            level, abs=four_standard_errors
        )


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

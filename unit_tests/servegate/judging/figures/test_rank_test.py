"""The exact rank test, against scipy's and against counting."""

import itertools

import numpy as np
import pytest
from scipy import stats

from servegate.judging.figures.rank_test import p_higher


@pytest.mark.parametrize("processes", [2, 4, 8, 12, 22])
def test_it_is_the_exact_test_of_mann_and_whitney(processes: int) -> None:
    rng = np.random.default_rng(processes)
    for shift in (-1.0, 0.0, 1.0):
        base, head = rng.normal(size=processes), rng.normal(shift, size=processes)
        expected = stats.mannwhitneyu(head, base, alternative="greater", method="exact").pvalue
        assert float(p_higher(base, head)) == pytest.approx(expected, rel=1e-9)


def test_every_order_of_six_processes_is_counted() -> None:
    """The probability of an order is the share of all orders that rank the head as high or higher."""
    ranks = np.arange(6.0)
    orders = [(np.delete(ranks, chosen), ranks[list(chosen)]) for chosen in itertools.combinations(range(6), 3)]
    sums = np.array([head.sum() for _, head in orders])
    for base, head in orders:
        assert float(p_higher(base, head)) == pytest.approx(np.mean(sums >= head.sum()))


def test_a_tie_is_no_evidence() -> None:
    same = np.ones(8)
    assert float(p_higher(same, same)) == 1.0


def test_many_comparisons_at_a_time() -> None:
    base = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert p_higher(base, base[::-1]) == pytest.approx([1 / 6, 1.0])

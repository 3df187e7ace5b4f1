"""Lasting changes over many runs: found where they are, and not where there is noise."""

import numpy as np
import pytest

from servegate.judging.changepoints import LEAST_RUNS, find_shifts

HISTORIES = 200
RUNS = 60


Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def noise(rng: np.random.Generator, runs: int = RUNS) -> Floats:
    """1 % a run."""
    return 0.01 * rng.standard_normal(runs)


def creep(start: int, runs: int = RUNS, slope: float = 0.01, length: int = 15) -> Floats:
    """Logs of a throughput that falls by `slope` a run from run `start` on, `length` times."""
    return np.asarray(np.log1p(-slope) * np.clip(np.arange(runs) - start + 1, 0, length))


def test_of_flat_histories_at_most_one_in_twenty_is_flagged() -> None:
    rng = np.random.default_rng(1)
    flagged = sum(bool(find_shifts(np.exp(noise(rng)).tolist(), 0.0)) for _ in range(HISTORIES))
    assert flagged <= 0.05 * HISTORIES


def test_the_runs_that_are_named_contain_the_start_of_a_creep() -> None:
    """1 % a run over 15 runs and 1 % of noise: each run alone is within any margin."""
    rng = np.random.default_rng(2)
    right, widths = 0, []
    for _ in range(HISTORIES):
        start = int(rng.integers(10, 40))
        (first, *_) = find_shifts(np.exp(creep(start) + noise(rng)).tolist(), 0.03)
        right += first.first <= start <= first.last
        widths.append(first.last - first.first + 1)
    assert right >= 0.8 * HISTORIES
    assert np.median(widths) <= 5


def test_a_few_disturbed_runs_are_no_change() -> None:
    """Noise with heavy tails: Student's t with three degrees of freedom."""
    rng = np.random.default_rng(6)
    histories = [np.exp(0.01 * rng.standard_t(3, RUNS) / np.sqrt(3)).tolist() for _ in range(HISTORIES)]
    assert sum(bool(find_shifts(history, 0.0)) for history in histories) <= 0.05 * HISTORIES


def test_a_step_is_found_at_its_run() -> None:
    values = np.array([100.0] * 20 + [90.0] * 20)
    rng = np.random.default_rng(3)
    (shift,) = find_shifts((values * np.exp(0.3 * noise(rng, 40))).tolist(), 0.03)
    assert (shift.first, shift.last, shift.end) == (20, 20, 20)
    assert shift.change == pytest.approx(-0.1, abs=0.01)


def test_exact_figures_are_no_trouble() -> None:
    assert find_shifts([100.0] * 30, 0.0) == []
    (shift,) = find_shifts([100.0] * 15 + [80.0] * 15, 0.03)
    assert (shift.first, shift.last) == (15, 15)


def test_a_change_and_its_undoing_are_two() -> None:
    rng = np.random.default_rng(4)
    values = np.array([100.0] * 15 + [85.0] * 15 + [100.0] * 15) * np.exp(0.5 * noise(rng, 45))
    assert [round(shift.change, 1) for shift in find_shifts(values.tolist(), 0.03)] == [-0.2, 0.2]


def test_what_is_too_small_is_left_out() -> None:
    values = [100.0] * 20 + [98.0] * 20
    assert len(find_shifts(values, 0.01)) == 1
    assert find_shifts(values, 0.03) == []


def test_a_few_runs_are_no_history() -> None:
    assert find_shifts([100.0] * 4 + [50.0] * (LEAST_RUNS - 5), 0.03) == []

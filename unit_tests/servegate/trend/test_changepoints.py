"""Lasting changes over many runs: found where they are, and not where there is noise."""

import numpy as np
import pytest
from scipy import stats

from servegate.trend.changepoints import LEAST_RUNS, find_shifts, noise_variance

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


def test_as_many_runs_as_are_needed_are_enough() -> None:
    (shift,) = find_shifts([100.0] * (LEAST_RUNS - 4) + [50.0] * 4, 0.03)
    assert (shift.first, shift.last, shift.end) == (4, 4, 4)


@pytest.mark.parametrize("start", [13, 20, 31])
def test_where_nothing_is_noisy_both_ends_of_a_creep_are_found(start: int) -> None:
    """It falls from run to run, 15 times: each step is a level of its own, and together they are one change."""
    (shift,) = find_shifts(np.exp(creep(start)).tolist(), 0.03)
    assert (shift.first, shift.last, shift.end) == (start, start, start + 14)
    assert shift.change == pytest.approx(0.99**15 - 1)


@pytest.mark.parametrize(("between", "changes"), [(10, [-0.1]), (11, [-0.05, -0.05 / 0.95])])
def test_levels_that_follow_each_other_within_ten_runs_are_one_change(between: int, changes: list[float]) -> None:
    shifts = find_shifts([100.0] * 15 + [95.0] * between + [90.0] * 15, 0.01)
    assert [shift.change for shift in shifts] == pytest.approx(changes)


def test_a_short_level_between_two_others_is_one_change_with_them() -> None:
    """The shortest is two runs; a single one is taken for a disturbed run."""
    (shift,) = find_shifts([100.0] * 10 + [90.0] * 2 + [80.0] * 10, 0.01)
    assert (shift.first, shift.end) == (10, 12)
    assert shift.change == pytest.approx(-0.2, abs=1e-9)


def test_changes_in_both_directions_are_told_apart_however_soon_they_follow() -> None:
    """Two falls are one, a rise is another, and so is the next fall."""
    levels = [100.0, 100.0, 90.0, 80.0, 85.0, 75.0, 75.0]
    shifts = find_shifts([level for level in levels for _ in range(5)], 0.01)
    assert [shift.change for shift in shifts] == pytest.approx([80 / 100 - 1, 85 / 80 - 1, 75 / 85 - 1])
    shifts = find_shifts([200.0 - level for level in levels for _ in range(5)], 0.01)
    assert [shift.change for shift in shifts] == pytest.approx([120 / 100 - 1, 115 / 120 - 1, 125 / 115 - 1])


def test_each_of_several_changes_is_placed_among_its_own_runs() -> None:
    shifts = find_shifts([100.0] * 15 + [85.0] * 15 + [100.0] * 15, 0.01)
    assert [(shift.first, shift.last, shift.end) for shift in shifts] == [(15, 15, 15), (30, 30, 30)]


def test_a_change_as_large_as_asked_is_one() -> None:
    values = [100.0] * 12 + [90.0] * 12
    (shift,) = find_shifts(values, 0.0)
    assert find_shifts(values, abs(shift.change)) == [shift]


def zigzag(runs: int) -> Floats:
    """Noise that is the same in each test: 0.1 % up, then down, then 0.05 % up, then down."""
    return np.resize([0.001, -0.001, 0.0005, -0.0005], runs)


@pytest.mark.parametrize("disturbed", [0, 1, 5, 20, 29])
@pytest.mark.parametrize("by", [-1.0, 1.0])
def test_a_disturbed_run_is_drawn_in_to_its_neighbours(disturbed: int, by: float) -> None:
    """To three standard deviations of the median of five: levels are means of what is left, and it is no level."""
    logs = zigzag(30)
    logs[13:] -= 0.1
    logs[disturbed] += by
    sd = np.sqrt(noise_variance(logs))
    expected = logs.copy()
    around = np.pad(logs, 2, mode="reflect")[disturbed : disturbed + 5]
    expected[disturbed] = np.median(around) + np.sign(by) * 3 * sd
    (shift,) = find_shifts(np.exp(logs).tolist(), 0.03)
    assert shift.change == pytest.approx(np.expm1(expected[13:].mean() - expected[:13].mean()), abs=1e-9)


def test_the_noise_is_scipys_from_the_differences_of_neighbours() -> None:
    """Their median absolute deviation, for normal noise; a slope, whose differences have a median, adds nothing."""
    logs = noise(np.random.default_rng(7)) + 0.05 * np.arange(RUNS)
    spread = float(stats.median_abs_deviation(np.diff(logs), scale="normal"))
    assert noise_variance(logs) == pytest.approx(spread**2 / 2, rel=1e-4)
    many = noise(np.random.default_rng(8), 10_000)
    assert noise_variance(many) == pytest.approx(0.01**2, rel=0.1)

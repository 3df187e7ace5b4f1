"""The test side by side at its edges, and its error and power over simulated runs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from servegate.judging.decisions import Decision
from servegate.judging.policy import Policy
from servegate.judging.sequential import SequentialTest, average_pairs, pool_cells
from servegate.records import Cell

CELLS = tuple(Cell(group, "load", value) for group in ("model", "api") for value in (1, 8, 32, 64))
POLICY = Policy(groups=2, cells=len(CELLS))
LOOKS = POLICY.looks
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def drop(percent: float) -> float:
    """The log ratio of a drop of throughput."""
    return float(np.log1p(-percent / 100))


# --- the arithmetic of one look, against independent formulas


def test_pairs_with_the_same_variance_are_averaged_as_a_paired_t_test_does() -> None:
    values = np.array([0.01, -0.02, 0.03, 0.015, -0.01])[:, None]
    means = average_pairs(values, np.full((5, 1), 0.0004))
    t = stats.ttest_1samp(values[:, 0], 0.0)
    assert means.mean == pytest.approx(values.mean())
    # The t test's variance of the mean is the predicted one times what the pairs' spread says of it.
    assert np.sqrt(means.variance * means.spread) == pytest.approx(values.mean() / t.statistic)


def test_a_disturbed_pair_weighs_less() -> None:
    """Halfway between its own variance and the mean of all."""
    values, variances = np.array([[0.0], [0.0], [0.3]]), np.array([[0.0001], [0.0001], [0.0103]])
    halfway = (variances + 0.0035) / 2 + 1e-8
    assert average_pairs(values, variances).mean == pytest.approx(0.3 / halfway[2, 0] / (1 / halfway).sum())


def test_a_groups_cells_weigh_by_what_their_blocks_say_over_all_pairs() -> None:
    """The same weights in each pair; a cell that isn't counted may hold anything."""
    values = np.array([[0.1, 0.2, np.nan], [0.3, 0.0, np.nan]])
    variances = np.array([[0.01, 0.03, np.nan], [0.01, 0.05, np.nan]])
    means, variance = pool_cells(values, variances, np.array([True, True, False]))
    share = np.array([1 / 0.01, 1 / 0.04]) / (1 / 0.01 + 1 / 0.04)
    assert means[:, 0] == pytest.approx(values[:, :2] @ share, rel=1e-5)
    assert variance[:, 0] == pytest.approx([0.01 * 0.8**2 + 0.035 * 0.2**2, 0.01 * 0.8**2 + 0.045 * 0.2**2], rel=1e-5)


def one_cell_each(effects: tuple[float, ...], pairs: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that stray by `spread` to either side in turn, of one cell a group; blocks say 1 % squared."""
    turns = np.where(np.arange(pairs) % 2, 1.0, -1.0)[:, None] * spread
    return np.array(effects) + turns, np.full((pairs, len(effects)), 0.0001)


def look(policy: Policy, log_ratios: np.ndarray, variances: np.ndarray, *, last: bool = False) -> SequentialTest:
    """A look of a test with one cell a group."""
    cells = [Cell(f"group{number}", "load", 1) for number in range(log_ratios.shape[-1])]
    test = SequentialTest(policy, cells)
    test.look(log_ratios, variances, last=last)
    return test


@pytest.mark.parametrize(
    ("spreads", "factors", "degrees"),
    [
        pytest.param((0.001, 0.001), (1.0, 1.0), 1.6 * 3, id="never below what blocks say"),
        pytest.param((0.03, 0.03), (12.0, 12.0), 1.6 * 3, id="both stray alike"),
        pytest.param((0.001, 0.03), (6.0 + 1 / 150 , 12.0), 1.6 * 3, id="a calm one shares the other's doubt"),
        pytest.param((0.03,), (12.0,), 3.0, id="alone, its own spread"),
    ],
)  # fmt: skip
def test_the_spread_of_a_group_is_its_own_or_half_way_to_that_of_all(
    spreads: tuple[float, ...], factors: tuple[float, ...], degrees: float
) -> None:
    """Of pairs at +s and -s the sum of squares is 4 s^2; over 3 and 1 % squared that is 4/3 (s / 1 %)^2."""
    values = np.column_stack([one_cell_each((0.0,), 4, spread)[0] for spread in spreads])
    change = look(POLICY, values, np.full_like(values, 0.0001)).of_groups.change
    own = [4 / 3 * (spread / 0.01) ** 2 for spread in spreads]
    expected = [max(1.0, one, (one + sum(own) / len(own)) / 2) for one in own]
    assert len(factors) == len(expected)
    assert change.standard_error**2 * 4 / 0.0001 == pytest.approx(expected, rel=1e-3)
    assert change.degrees_of_freedom == pytest.approx(degrees)


def test_the_degrees_of_freedom_of_cells_are_one_and_a_half_a_pair() -> None:
    values, variances = one_cell_each((0.0, 0.0), 6, 0.001)
    assert look(POLICY, values, variances).of_cells.change.degrees_of_freedom == pytest.approx(1.5 * 5)
    values, variances = one_cell_each((0.0,), 6, 0.001)
    assert look(POLICY, values, variances).of_cells.change.degrees_of_freedom == pytest.approx(5.0)


# --- every decision at its edge


@pytest.mark.parametrize(("sign", "decision"), [(1, Decision.REGRESSED), (-1, Decision.IMPROVED)])
@pytest.mark.parametrize("pairs", LOOKS)
@pytest.mark.parametrize("level", ["group", "cell"])
def test_a_change_is_accused_at_the_share_that_its_look_has_of_the_error_level(
    level: str, pairs: int, sign: int, decision: Decision
) -> None:
    """With a p a little below that share, and not with one a little above it."""
    values, variances = one_cell_each((sign * drop(5.0), 0.0), pairs, 0.02)
    last, before = pairs == LOOKS[-1], dict(zip(LOOKS, (0, *LOOKS), strict=False))[pairs]
    share = (pairs - before) / LOOKS[-1]
    judged = look(POLICY, values, variances, last=last)
    change = (judged.of_groups if level == "group" else judged.of_cells).change
    p = float(min(change.p_lower()[0], change.p_higher()[0]))
    # Of the level of all: four fifths over two groups, a fifth over eight cells.
    of_all = {"group": 2 / 0.8, "cell": 8 / 0.2}[level] / share
    for factor, is_accused in ((1.01, True), (0.99, False)):
        policy = replace(POLICY, error_level=of_all * p * factor)
        test = look(policy, values, variances, last=last)
        found = test.of_groups if level == "group" else test.of_cells
        assert (found.decision[0] == decision) == is_accused


@pytest.mark.parametrize("level", ["group", "cell"])
@pytest.mark.parametrize(("sign", "decision"), [(-1, Decision.REGRESSED), (1, Decision.IMPROVED)])
def test_a_change_is_accused_from_its_threshold_on(level: str, sign: int, decision: Decision) -> None:
    """However certain a smaller one is."""
    threshold = {"group": 0.01, "cell": 0.03}[level]
    for change, is_accused in ((threshold * 1.001, True), (threshold * 0.999, False)):
        values, _ = one_cell_each((float(np.log1p(sign * change)), 0.0), 6, 0.0)
        test = look(POLICY, values, np.full_like(values, 1e-10))
        found = test.of_groups if level == "group" else test.of_cells
        assert (found.decision[0] == decision) == is_accused


@pytest.mark.parametrize("level", ["group", "cell"])
@pytest.mark.parametrize("pairs", LOOKS)
def test_pass_excludes_its_slowdown_at_the_share_of_the_look(level: str, pairs: int) -> None:
    """At 95 % of a run: the one-sided bound at 1 - 5 % x share lies just above it, or just below."""
    excluded, degrees = {"group": (0.03, 1.6), "cell": (0.10, 1.5)}[level]
    share = (pairs - dict(zip(LOOKS, (0, *LOOKS), strict=False))[pairs]) / LOOKS[-1]
    half_width = stats.t.ppf(1 - 0.05 * share, degrees * (pairs - 1)) * 0.01 / np.sqrt(pairs)
    for more, passes in ((1e-5, True), (-1e-5, False)):
        effect = float(np.log1p(-excluded)) + half_width + more
        values, variances = one_cell_each((effect, effect), pairs, 0.0)
        test = look(replace(POLICY, error_level=1e-40), values, variances - 1e-8, last=pairs == LOOKS[-1])
        found = test.of_groups if level == "group" else test.of_cells
        assert (found.decision[0] == Decision.PASS) == passes


@pytest.mark.parametrize("gain", [0.0, 50.0])
def test_pass_needs_an_interval_no_wider_than_what_it_excludes(gain: float) -> None:
    """A wild estimate far on the good side excludes any slowdown and proves nothing."""
    variance_of = {}
    for level, excluded, degrees in (("group", 0.03, 1.6), ("cell", 0.10, 1.5)):
        variance_of[level] = (-np.log1p(-excluded) / stats.t.ppf(0.975, degrees * 21)) ** 2 * 22
    for level, variance in variance_of.items():
        for factor, passes in ((0.999, True), (1.001, False)):
            values = np.full((22, 2), np.log1p(gain / 100))
            if not gain:
                values += 0.05  # so that the one-sided bound is no obstacle
            test = look(replace(POLICY, error_level=1e-40), values, np.full_like(values, variance * factor), last=True)
            found = test.of_groups if level == "group" else test.of_cells
            assert (found.decision[0] == Decision.PASS) == passes


# --- which cells are measured on


def test_all_cells_of_an_open_group_are_measured_and_none_of_one_that_regressed() -> None:
    test = SequentialTest(POLICY, CELLS)
    assert test.measured.all()
    values = np.zeros((4, 8))
    values[:, :4] = drop(10)
    values += np.where(np.arange(4) % 2, 1.0, -1.0)[:, None] * 0.001
    variances = np.full((4, 8), 1e-4)
    variances[:, 4:] = 0.04  # the API is too noisy to say anything
    test.look(values, variances)
    assert test.of_groups.decision.tolist() == [Decision.REGRESSED, Decision.OPEN]
    assert test.measured.tolist() == [False] * 4 + [True] * 4


def test_after_its_group_passed_only_open_cells_go_on() -> None:
    """One of the cells strays too far to exclude 10 % of it."""
    test = SequentialTest(POLICY, CELLS[:4])
    variances = np.full((6, 4), 1e-5)
    variances[:, 3] = 0.01
    test.look(np.zeros((6, 4)), variances)
    assert test.of_groups.decision.tolist() == [Decision.PASS]
    assert test.measured.tolist() == [False, False, False, True]
    # What is decided keeps the estimate that it was decided by.
    before = test.of_cells.change.difference[:3].copy()
    later = np.full((9, 4), np.nan)
    later[:, 3], later[:6, :3] = drop(40), 0.0
    test.look(later, np.where(np.isnan(later), np.nan, 1e-3))
    assert test.of_cells.decision.tolist() == [Decision.PASS] * 3 + [Decision.REGRESSED]
    assert test.of_cells.change.difference[:3] == pytest.approx(before)
    assert (test.of_cells.pairs.tolist(), test.of_groups.pairs.tolist()) == ([6, 6, 6, 9], [6])


def test_a_cell_that_is_left_out_neither_weighs_nor_is_measured() -> None:
    test = SequentialTest(POLICY, CELLS)
    test.leave_out(CELLS[0])
    values = np.zeros((4, 8))
    values[:, 0] = np.nan
    test.look(values, np.where(np.isnan(values), np.nan, 1e-5))
    assert test.of_groups.decision.tolist() == [Decision.PASS, Decision.PASS]
    assert test.of_cells.decision.tolist() == [Decision.LEFT_OUT, *[Decision.PASS] * 7]
    assert test.of_groups.change.difference == pytest.approx([0.0, 0.0])


def test_a_group_without_any_cell_left_is_left_out_itself() -> None:
    """The other is then judged as the only one there is."""
    test = SequentialTest(POLICY, CELLS)
    for cell in CELLS[:4]:
        test.leave_out(cell)
    values = np.where(np.arange(8) < 4, np.nan, np.zeros((4, 8)))
    test.look(values, np.where(np.isnan(values), np.nan, 1e-5))
    assert test.of_groups.decision.tolist() == [Decision.LEFT_OUT, Decision.PASS]
    assert test.of_groups.change.degrees_of_freedom[1] == 3.0
    assert not test.measured[:4].any()


# --- whole runs


def run(log_ratios: np.ndarray, variances: np.ndarray) -> SequentialTest:
    """Runs at every look."""
    test = SequentialTest(POLICY, CELLS, runs=log_ratios.shape[:1])
    for pairs in LOOKS:
        test.look(log_ratios[:, :pairs], variances[:, :pairs], last=pairs == LOOKS[-1])
    return test


def simulate(
    runs: int,
    draw: Draw = np.random.Generator.standard_normal,
    *,
    processes: float,
    common: float = 0.0,
    effect: float = 0.0,
    seed: int = 20,
) -> SequentialTest:
    """Runs of four blocks a pair that are worth 0.9 %, and fresh processes that differ by so much beyond them.

    Parameters
    ----------
    common:
        The correlation that the processes' noise has over the cells of a group.
    """
    rng = np.random.default_rng(seed)
    blocks = 0.018 * rng.standard_normal((runs, LOOKS[-1], len(CELLS), 4))
    shared = np.repeat(draw(rng, (runs, LOOKS[-1], 2)), 4, axis=-1)
    own = draw(rng, (runs, LOOKS[-1], len(CELLS)))
    noise = processes * (np.sqrt(common) * shared + np.sqrt(1 - common) * own)
    return run(blocks.mean(axis=-1) + noise + effect, blocks.var(axis=-1, ddof=1) / 4)


def two_modes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Fresh processes are of one of two kinds, as with large pages or without."""
    return np.asarray(np.sqrt(0.9) * rng.choice([-1.0, 1.0], shape) + np.sqrt(0.1) * rng.standard_normal(shape))


@pytest.mark.parametrize("draw", [np.random.Generator.standard_normal, two_modes])
@pytest.mark.parametrize("common", [0.0, 0.8])
@pytest.mark.parametrize("processes", [0.01, 0.03, 0.10])
def test_identical_code_is_accused_in_at_most_one_run_of_a_hundred(draw: Draw, common: float, processes: float) -> None:
    """With 2,000 runs more than 33 accused would be a chance of 1 in 300 at that rate."""
    test = simulate(2000, draw, processes=processes, common=common)
    accused = (test.of_groups.decision == Decision.REGRESSED).any(-1) | (
        test.of_cells.decision == Decision.REGRESSED
    ).any(-1)
    assert accused.sum() <= 33


def test_three_percent_are_found_and_never_passed_where_processes_differ_by_one() -> None:
    test = simulate(1000, processes=0.01, effect=drop(3))
    assert (test.of_groups.decision == Decision.REGRESSED).all(-1).mean() >= 0.98
    assert (test.of_groups.decision == Decision.PASS).mean() <= 0.01


def test_a_slowdown_that_pass_excludes_is_passed_in_one_run_of_twenty_at_most() -> None:
    """Also where fresh processes differ by more than their blocks say, and all cells of a process alike."""
    test = simulate(2000, processes=0.03, common=0.8, effect=drop(3))
    assert (test.of_groups.decision == Decision.PASS).mean() <= 0.05


def test_where_processes_differ_by_ten_percent_it_is_said_to_be_too_noisy() -> None:
    """With what is excluded all the same."""
    test = simulate(200, processes=0.10, common=0.8)
    is_open = test.of_groups.decision == Decision.OPEN
    assert is_open.mean() >= 0.9
    assert (test.of_groups.excluded()[is_open] > 0.03).all()

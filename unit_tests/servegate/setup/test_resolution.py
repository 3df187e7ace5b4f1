"""Tests of the minutes that are promised for a machine, on pairs whose noise is known."""

from dataclasses import replace

import numpy as np
import pytest

from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.records import Cell
from servegate.setup.resolution import GroupPairs, Promise, coarser, promise, simulate
from unit_tests.builders.runs.samples import make_sample

CELLS = [Cell("api", "concurrency", 1), Cell("api", "concurrency", 8)]
WHY_NOT = "fresh processes differ too much, or a pair takes too long"
POLICY = Policy(groups=1, cells=2)
CELL_S, OVERHEAD_S, BLOCKS = 9.0, 6.0, 4
PAIR_MINUTES = (2 * CELL_S + OVERHEAD_S) / 60


def draw(rng: np.random.Generator, pairs: int, block_spread: float, process_spread: float = 0.0) -> GroupPairs:
    """Pairs of identical code with a known noise, as a doctor would measure them."""
    figures = []
    for _ in range(pairs):
        common = rng.normal(0.0, process_spread)
        blocks = common + rng.normal(0.0, block_spread, (len(CELLS), BLOCKS))
        figures.append(
            [PairFigure(float(cell.mean()), tuple(cell), make_sample(), make_sample(), CELL_S) for cell in blocks]
        )
    return GroupPairs(CELLS, figures, OVERHEAD_S)


def test_a_calm_machine_passes_at_the_first_look() -> None:
    made = promise(POLICY, [draw(np.random.default_rng(0), 3, block_spread=0.002)], least_pairs=8, budget_s=2700)
    assert made.excluded == {"api": pytest.approx(0.03)}
    assert made.low == pytest.approx(4 * PAIR_MINUTES)
    assert made.high == pytest.approx(8 * PAIR_MINUTES)  # figures may keep a run going
    assert (made.calm_share, made.noisy_share) == (1.0, 1.0)
    assert str(made) == "a slowdown of 3 % is excluded in 1.6 to 3.2 minutes"


def test_a_group_with_another_margin_is_told() -> None:
    made = Promise({"model": 0.03, "api": 0.03, "photo": 0.06}, low=5.0, high=13.81, calm_share=1.0, noisy_share=1.0)
    assert str(made) == "a slowdown of 3 % (of photo 6 %) is excluded in 5.0 to 13.8 minutes"


def test_turns_take_time_until_the_first_look() -> None:
    groups = [replace(draw(np.random.default_rng(0), 3, block_spread=0.002), turns_s=3.0)]
    made = promise(POLICY, groups, least_pairs=8, budget_s=2700)
    assert made.low == pytest.approx(4 * (PAIR_MINUTES + 3.0 / 60))
    assert made.high == pytest.approx(8 * PAIR_MINUTES + 4 * 3.0 / 60)


def test_where_processes_differ_too_much_nothing_is_promised() -> None:
    made = promise(
        POLICY, [draw(np.random.default_rng(0), 3, block_spread=0.01, process_spread=0.4)], least_pairs=8, budget_s=2700
    )
    assert str(made) == f"a slowdown of 3 % can't be excluded here within 8.8 minutes: {WHY_NOT}"


def test_a_run_whose_time_is_up_tells_nothing() -> None:
    groups = [draw(np.random.default_rng(0), 3, block_spread=0.002)]
    made = promise(POLICY, groups, least_pairs=8, budget_s=60.0)
    assert str(made) == f"a slowdown of 3 % can't be excluded here within 1.0 minutes: {WHY_NOT}"


def test_a_coarser_policy_excludes_what_it_is_asked_for_and_is_quicker() -> None:
    groups = [draw(np.random.default_rng(1), 3, block_spread=0.04, process_spread=0.02)]
    coarse = coarser(POLICY, 0.10)
    assert coarse.of_group("api").excluded == pytest.approx(0.10)
    fine_made, coarse_made = (promise(policy, groups, least_pairs=4, budget_s=2700) for policy in (POLICY, coarse))
    assert coarse_made.excluded == {"api": pytest.approx(0.10)}
    assert coarse_made.high < fine_made.high


@pytest.mark.parametrize(("block_spread", "process_spread"), [(0.01, 0.0), (0.04, 0.0), (0.03, 0.01)])
def test_most_runs_take_as_long_as_was_promised(block_spread: float, process_spread: float) -> None:
    """The doctor examines a machine of known noise 40 times, and a run follows each time."""
    rng = np.random.default_rng(2)
    inside = 0
    truth = draw(rng, 400, block_spread, process_spread)
    minutes, _ = simulate(POLICY, [truth], 1.0, rng)
    for taken in minutes[:40]:
        made = promise(POLICY, [draw(rng, 3, block_spread, process_spread)], least_pairs=4, budget_s=2700)
        inside += made.low - 1e-9 <= taken <= made.high + 1e-9
    assert inside >= 34


def test_the_noise_that_blocks_do_not_explain_is_seen() -> None:
    rng = np.random.default_rng(3)
    assert draw(rng, 200, block_spread=0.04).process_spread < 0.006
    measured = draw(rng, 200, block_spread=0.04, process_spread=0.03)
    assert measured.process_spread == pytest.approx(0.03, rel=0.2)
    assert measured.spread > measured.process_spread

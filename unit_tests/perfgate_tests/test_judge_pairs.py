"""The rule for pairs of fresh processes: its verdicts, and the error and power of whole runs by simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from perfgate.judge import Policy, judge_pairs
from perfgate.records import Status

GATED_CELLS = 8
POLICY = Policy(gated_cells=GATED_CELLS)
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def drop(percent: float) -> float:
    """The log ratio of a drop of throughput."""
    return math.log1p(-percent / 100)


@pytest.mark.parametrize(
    ("log_ratios", "status"),
    [
        pytest.param([0.001, -0.002, 0.003], Status.PASS, id="no change"),
        pytest.param([drop(2), drop(2.0001), drop(1.9999)], Status.PASS, id="a certain change below the margin"),
        pytest.param([drop(10), drop(10.02), drop(9.98)], Status.REGRESSED, id="a certain drop"),
        pytest.param([-drop(10), -drop(10.02), -drop(9.98)], Status.IMPROVED, id="a certain gain"),
        pytest.param([drop(20), 0.1, drop(5)], None, id="too noisy, more pairs to come"),
    ],
)
def test_verdict_at_a_look(log_ratios: list[float], status: Status | None) -> None:
    verdict = judge_pairs(POLICY, log_ratios, last=False)
    assert (verdict and verdict.status) == status


def test_what_is_open_at_the_last_look_is_inconclusive() -> None:
    verdict = judge_pairs(POLICY, [drop(20), 0.1, drop(5)], last=True)
    assert verdict is not None
    assert verdict.status is Status.INCONCLUSIVE
    assert "can't exclude a slowdown of 10% at 95% and 5% at 80%" in verdict.reason


def test_the_evidence_names_every_pair_and_the_error_spent_at_a_look() -> None:
    verdict = judge_pairs(POLICY, [drop(10), drop(11), drop(9)], last=True)
    assert verdict is not None
    assert verdict.evidence[0] == "pairs    -10.0% -11.0% -9.0%"
    spent = "accused below 0.0013 (0.01 over 8 cells, 100% of it at this look; looks at 3, 6, 9, 13, 20 pairs)"
    assert spent in verdict.evidence[2]


def test_all_looks_together_spend_what_a_verdict_may_err() -> None:
    """In proportion to the pairs; a budget that ends between two looks leaves the rest to the last."""
    assert [POLICY.look_share(pairs, last=False) for pairs in (3, 6, 9, 13)] == pytest.approx([0.15, 0.15, 0.15, 0.2])
    assert POLICY.look_share(20, last=True) == pytest.approx(0.35)
    assert POLICY.look_share(7, last=True) == pytest.approx(0.7)
    assert POLICY.look_share(2, last=True) == 1


def run_of(ratios: np.ndarray) -> list[Status]:
    """The verdicts of a whole run: each cell is judged at every look until it is decided."""
    verdicts = []
    for cell in ratios:
        for look in POLICY.looks:
            verdict = judge_pairs(POLICY, cell[:look].tolist(), last=look == POLICY.looks[-1])
            if verdict is not None:
                verdicts.append(verdict.status)
                break
    return verdicts


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 0.03, shape)


def heavy_tails(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, shape) * 0.03 / math.sqrt(3)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.03 - rng.exponential(0.03, shape)


def stalls(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One pair in twenty at a twentieth of its speed, in either arm."""
    hit = (rng.random(shape) < 0.05) * rng.choice([-1, 1], shape) * math.log(20)
    return np.asarray(normal(rng, shape) + hit)


def correlated_cells(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Most of a pair's noise is common to its cells."""
    common: np.ndarray = normal(rng, (1, shape[1])) * 0.9
    own: np.ndarray = normal(rng, shape) * 0.44
    return np.asarray(common + own)


@pytest.mark.parametrize("noise", [normal, heavy_tails, skewed, stalls, correlated_cells])
def test_runs_of_identical_code_are_accused_at_the_error_level_at_most(noise: Draw) -> None:
    """1 % of runs; with 200 runs more than 6 accused would be a chance of 1 in 200 at that rate."""
    rng = np.random.default_rng(20)
    runs = [run_of(noise(rng, (GATED_CELLS, POLICY.looks[-1]))) for _ in range(200)]
    assert sum(Status.REGRESSED in verdicts for verdicts in runs) <= 6


def test_a_slowdown_of_ten_percent_is_found_and_never_passed_at_the_noise_of_this_kind_of_machine() -> None:
    rng = np.random.default_rng(21)
    verdicts = [run_of(normal(rng, (1, POLICY.looks[-1])) + drop(10))[0] for _ in range(200)]
    assert sum(status is Status.REGRESSED for status in verdicts) >= 195

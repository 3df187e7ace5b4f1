"""The rule for pairs of fresh processes: its verdicts, and the error and power of whole runs by simulation."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from servegate.judging.estimators import mean_of_pairs, midmean, midmean_variance
from servegate.judging.judge import Policy, judge_pairs
from servegate.records import Status

GATED_CELLS = 8
BLOCKS = 8
BLOCK_SD = 0.075
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
        pytest.param([drop(20), 0.3, drop(5)], None, id="too noisy, more pairs to come"),
    ],
)
def test_verdict_at_a_look(log_ratios: list[float], status: Status | None) -> None:
    verdict = judge_pairs(POLICY, log_ratios, [0.0] * len(log_ratios), last=False)
    assert (verdict and verdict.status) == status


def test_what_is_open_at_the_last_look_is_inconclusive() -> None:
    verdict = judge_pairs(POLICY, [drop(20), 0.1, drop(5)], [0.01] * 3, last=True)
    assert verdict is not None
    assert verdict.status is Status.INCONCLUSIVE
    assert "can't exclude a slowdown of 10% at 95% and 5% at 80%" in verdict.reason


def test_the_evidence_names_every_pair_and_the_error_spent_at_a_look() -> None:
    verdict = judge_pairs(POLICY, [drop(10), drop(11), drop(9)], [0.0001] * 3, last=True)
    assert verdict is not None
    assert verdict.evidence[0] == "pairs    -10.0% -11.0% -9.0%"
    spent = "accused below 0.0013 (0.01 over 8 cells, 100% of it at this look; looks at 3, 5, 8, 12, 20 pairs)"
    assert spent in verdict.evidence[2]


def test_a_verdict_tells_the_change_and_how_pairs_differ() -> None:
    """Three that agree: what they differ by is the prior, 6 / 8 of what their blocks say, 0.0048 with 1 % squared."""
    verdict = judge_pairs(POLICY, [drop(10)] * 3, [0.0047] * 3, last=True)
    assert verdict is not None
    assert verdict.change == mean_of_pairs([drop(10)] * 3, [0.0047] * 3).as_change()
    assert (
        verdict.evidence[1] == f"change   {verdict.change} (95 % interval); pairs differ by 6.0% (standard deviation)"
    )
    verdict = judge_pairs(POLICY, [drop(10)] * 3, [0.0] * 3, last=False)
    assert verdict is not None
    reason = "throughput -10.0% side by side; more than the margin of 3% and than fresh processes differ"
    assert verdict.reason == reason
    assert "accused below 0.00019 (0.01 over 8 cells, 15% of it at this look;" in verdict.evidence[2]


@pytest.mark.parametrize(("sign", "status"), [(1, Status.REGRESSED), (-1, Status.IMPROVED)])
@pytest.mark.parametrize(("pairs", "last", "share"), [(3, False, 3 / 20), (5, False, 2 / 20), (3, True, 1.0)])
def test_a_change_is_accused_at_the_share_that_its_look_has_of_the_error_level(
    sign: int, status: Status, pairs: int, last: bool, share: float
) -> None:
    """With a p a little below that share, and not with one a little above it."""
    log_ratios, variances = [sign * drop(5 + number / 10) for number in range(pairs)], [0.0002] * pairs
    difference = mean_of_pairs(log_ratios, variances)
    p = min(difference.p_lower(), difference.p_higher())
    for factor, is_accused in ((1.01, True), (0.99, False)):
        policy = replace(POLICY, error_level=GATED_CELLS * p / share * factor)
        verdict = judge_pairs(policy, log_ratios, variances, last=last)
        assert (verdict is not None and verdict.status is status) == is_accused


def test_all_looks_together_spend_what_a_verdict_may_err() -> None:
    """In proportion to the pairs; a budget that ends between two looks leaves the rest to the last."""
    assert [POLICY.look_share(pairs, last=False) for pairs in (3, 5, 8, 12)] == pytest.approx(
        [3 / 20, 2 / 20, 3 / 20, 4 / 20]
    )
    assert POLICY.look_share(20, last=True) == pytest.approx(8 / 20)
    assert POLICY.look_share(7, last=True) == pytest.approx((20 - 5) / 20)
    assert POLICY.look_share(2, last=True) == 1


def run_of(blocks: np.ndarray) -> list[Status]:
    """The verdicts of a whole run: each cell is judged at every look until it is decided.

    Parameters
    ----------
    blocks:
        Log ratios of shape (cells, pairs, blocks).
    """
    verdicts = []
    for cell in blocks.tolist():
        ratios, variances = [midmean(pair) for pair in cell], [midmean_variance(pair) for pair in cell]
        for look in POLICY.looks:
            verdict = judge_pairs(POLICY, ratios[:look], variances[:look], last=look == POLICY.looks[-1])
            if verdict is not None:
                verdicts.append(verdict.status)
                break
    return verdicts


def processes(rng: np.random.Generator, shape: tuple[int, ...], sd: float = 0.01) -> np.ndarray:
    """What a pair of fresh processes differs by as a whole."""
    return np.asarray(rng.normal(0, sd, (*shape[:2], 1)))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.normal(0, BLOCK_SD, shape) + processes(rng, shape))


def heavy_tails(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(rng.standard_t(3, shape) * BLOCK_SD / math.sqrt(3) + processes(rng, shape))


EXPONENTIAL_MIDMEAN = midmean(np.random.default_rng(0).exponential(1.0, 100_000).tolist())


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Around its own midmean, which is what identical code has."""
    return np.asarray(BLOCK_SD * (EXPONENTIAL_MIDMEAN - rng.exponential(1.0, shape)) + processes(rng, shape))


def stalls(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One block in twenty at a twentieth of its speed, in either arm."""
    hit = (rng.random(shape) < 0.05) * rng.choice([-1, 1], shape) * math.log(20)
    return np.asarray(normal(rng, shape) + hit)


def different_processes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Fresh processes differ by twice as much as the rule supposes, and blocks don't show it."""
    return np.asarray(rng.normal(0, BLOCK_SD, shape) + processes(rng, shape, 0.02))


def correlated_cells(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Most of a pair's noise is common to its cells."""
    return np.asarray(0.9 * normal(rng, (1, *shape[1:])) + 0.44 * normal(rng, shape))


def drift(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The blocks of a pair wander together, as far as turns leave something of it."""
    steps = np.cumsum(rng.normal(0, 0.02, shape), axis=2)
    return np.asarray(normal(rng, shape) + steps - steps.mean(axis=2, keepdims=True))


def disturbed_pairs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One pair in six is measured while somebody else uses the machine: its blocks differ four times as much."""
    louder = np.where(rng.random((*shape[:2], 1)) < 1 / 6, 4.0, 1.0)
    return np.asarray(rng.normal(0, BLOCK_SD, shape) * louder + processes(rng, shape))


NOISES = (normal, heavy_tails, skewed, stalls, different_processes, correlated_cells, drift, disturbed_pairs)


@pytest.mark.parametrize("noise", NOISES)
def test_runs_of_identical_code_are_accused_at_the_error_level_at_most(noise: Draw) -> None:
    """1 % of runs; with 200 runs more than 6 accused would be a chance of 1 in 200 at that rate."""
    rng = np.random.default_rng(20)
    runs = [run_of(noise(rng, (GATED_CELLS, POLICY.looks[-1], BLOCKS))) for _ in range(200)]
    assert sum(Status.REGRESSED in verdicts for verdicts in runs) <= 6


def test_a_slowdown_of_ten_percent_is_found_and_never_passed_at_the_noise_of_this_kind_of_machine() -> None:
    rng = np.random.default_rng(21)
    verdicts = run_of(normal(rng, (200, POLICY.looks[-1], BLOCKS)) + drop(10))
    assert sum(status is Status.REGRESSED for status in verdicts) >= 195
    assert Status.PASS not in verdicts


def test_disturbed_pairs_hide_little() -> None:
    """A pair whose blocks disagree says less than the calm ones."""
    rng = np.random.default_rng(23)
    verdicts = run_of(disturbed_pairs(rng, (200, POLICY.looks[-1], BLOCKS)) + drop(5))
    assert sum(status is Status.REGRESSED for status in verdicts) >= 150
    assert sum(status is Status.PASS for status in verdicts) <= 40


def test_a_slowdown_of_five_percent_is_passed_in_one_run_of_five_at_most() -> None:
    """That is what PASS means; most others are found."""
    rng = np.random.default_rng(22)
    verdicts = run_of(normal(rng, (200, POLICY.looks[-1], BLOCKS)) + drop(5))
    assert sum(status is Status.PASS for status in verdicts) <= 40
    assert sum(status is Status.REGRESSED for status in verdicts) >= 160

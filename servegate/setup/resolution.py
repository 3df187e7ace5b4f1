"""Simulates whole runs on a few pairs of identical code, to say in which time a machine excludes which slowdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from servegate.judging.decisions import Bools
from servegate.judging.estimators import Floats
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.judging.sequential import SequentialTest, pool_cells
from servegate.records import Cell

_RUNS = 400
# Quantiles of simulated runs, between which the promised minutes lie, and of the true spread, given the one seen.
_LOW, _HIGH = 0.1, 0.9
_USUAL = 0.5
_WHY_NOT = "fresh processes differ too much, or a pair takes too long"
_SEED = 0


@dataclass(frozen=True)
class GroupPairs:
    """A few pairs of identical code.

    Attributes
    ----------
    figures:
        One sequence a pair: the figures of the group's cells, in their order.
    overhead_s:
        This group's share of the seconds that a pair takes besides its bursts, as to start and stop.
    turns_s:
        This group's share of the seconds of turns, which only the pairs up to the first look take.
    """

    cells: Sequence[Cell]
    figures: Sequence[Sequence[PairFigure]]
    overhead_s: float
    turns_s: float = 0.0

    @property
    def log_ratios(self) -> Floats:
        """Shape (pairs, cells)."""
        return np.array([[figure.log_ratio for figure in pair] for pair in self.figures])

    @property
    def block_variances(self) -> Floats:
        """Variance of a block's log ratio, by cell."""
        blocks = [[np.var(figure.blocks, ddof=1) for figure in pair] for pair in self.figures]
        variances: Floats = np.mean(blocks, axis=0)
        return variances

    @property
    def blocks(self) -> int:
        """Blocks of a cell in a pair."""
        return len(self.figures[0][0].blocks)

    @property
    def cell_s(self) -> Floats:
        """Seconds of each cell's bursts in a pair."""
        seconds: Floats = np.mean([[figure.seconds for figure in pair] for pair in self.figures], axis=0)
        return seconds

    @property
    def pair_s(self) -> float:
        """Seconds that a pair takes after the first look."""
        return self.overhead_s + float(self.cell_s.sum())

    @property
    def spread(self) -> float:
        """Standard deviation of the group's log ratio from pair to pair; its true mean is 0."""
        return float(np.sqrt(np.mean(self._pooled[0] ** 2)))

    @property
    def process_spread(self) -> float:
        """The part of it that blocks don't explain, common to all cells of a process."""
        values, variances = self._pooled
        return float(np.sqrt(max(0.0, float(np.mean(values**2) - np.mean(variances)))))

    @property
    def _pooled(self) -> tuple[Floats, Floats]:
        variances = np.broadcast_to(self.block_variances / self.blocks, self.log_ratios.shape)
        return pool_cells(self.log_ratios, variances, np.full(len(self.cells), fill_value=True))


@dataclass(frozen=True)
class Promise:
    """The minutes within which identical code passes.

    Attributes
    ----------
    excluded:
        The slowdown that a group's PASS excludes, as a share, by the group's name.
    low, high:
        The minutes of a quick run on a calm machine, and of a slow run on a noisy one.
    calm_share, noisy_share:
        The share of runs that pass at all, where the machine is as calm and as noisy as it can be after what was seen.
    """

    excluded: Mapping[str, float]
    low: float
    high: float
    calm_share: float
    noisy_share: float

    def __str__(self) -> str:
        usual = min(self.excluded.values())
        others = [f"of {name} {100 * share:.2g} %" for name, share in self.excluded.items() if share > usual]
        beside = f" ({', '.join(others)})" if others else ""
        slowdown = f"a slowdown of {100 * usual:.2g} %{beside}"
        within = f"{self.high:.1f} minutes"
        if self.calm_share < _USUAL:
            return f"{slowdown} can't be excluded here within {within}: {_WHY_NOT}"
        line = f"{slowdown} is excluded in {self.low:.1f} to {within}"
        return line if self.noisy_share >= _HIGH else f"{line}, but not in every run"


def promise(policy: Policy, groups: Sequence[GroupPairs], *, least_pairs: int, budget_s: float) -> Promise:
    """Promise within how many minutes a run of identical code passes.

    The few pairs that were measured leave open how noisy the machine is. So runs are simulated at the lowest and the
    highest spread that fit to them; the promise begins with the quick ones of the first and ends with the slow ones of
    the second.

    Parameters
    ----------
    least_pairs:
        The number of pairs that a run may take in any case, as for figures that look suspicious.
    budget_s:
        Seconds after which a run begins no further pair, and tells no more.
    """
    degrees = sum(len(group.figures) for group in groups)
    calm, noisy = (float(np.sqrt(degrees / special.chdtri(degrees, 1 - share))) for share in (_HIGH, _LOW))
    rng = np.random.default_rng(_SEED)
    quick, calm_passed = simulate(policy, groups, calm, rng)
    slow, noisy_passed = simulate(policy, groups, noisy, rng)
    least = (least_pairs * sum(group.pair_s for group in groups) + _turns_s(policy, groups)) / 60
    budget = budget_s / 60
    return Promise(
        excluded={name: policy.of_group(name).excluded for name in (group.cells[0].group for group in groups)},
        low=min(budget, float(np.quantile(quick, _LOW))),
        high=min(budget, max(least, float(np.quantile(slow, _HIGH)))),
        calm_share=float((calm_passed & (quick <= budget)).mean()),
        noisy_share=float((noisy_passed & (slow <= budget)).mean()),
    )


def coarser(policy: Policy, excluded: float) -> Policy:
    """Make a policy whose PASS excludes a slowdown of that share in each group."""
    probe = replace(policy, margins={}).of_group("")
    return replace(policy, margin=policy.margin * excluded / probe.excluded, margins={})


def simulate(
    policy: Policy, groups: Sequence[GroupPairs], scale: float, rng: np.random.Generator
) -> tuple[Floats, Bools]:
    """Simulate runs of identical code by the very test that judges a live one.

    Parameters
    ----------
    scale:
        The factor by which the noise is larger than in the pairs that were measured.

    Returns
    -------
    tuple
        The minutes of each run, and whether it left nothing open.
    """
    cells = [cell for group in groups for cell in group.cells]
    shape = (_RUNS, policy.looks[-1])
    drawn = [_draw(group, scale, shape, rng) for group in groups]
    log_ratios = np.concatenate([means for means, _ in drawn], axis=-1)
    variances = np.concatenate([variances for _, variances in drawn], axis=-1)
    test = SequentialTest(policy, cells, runs=(_RUNS,))
    seconds, before = np.full(_RUNS, _turns_s(policy, groups)), 0
    for look in policy.looks:
        seconds += (look - before) * _pair_seconds(test, groups)
        test.look(log_ratios[:, :look], variances[:, :look])
        before = look
    is_over: Bools = ~np.any(test.measured, axis=-1)
    return seconds / 60, is_over


def _draw(group: GroupPairs, scale: float, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw log ratios of shape (runs, pairs, cells), and their variances as the blocks of each pair give them."""
    block_spread = scale * np.sqrt(group.block_variances)
    blocks = rng.normal(0.0, 1.0, (*shape, len(group.cells), group.blocks)) * block_spread[:, None]
    common = rng.normal(0.0, scale * group.process_spread, (*shape, 1))
    return blocks.mean(axis=-1) + common, blocks.var(axis=-1, ddof=1) / group.blocks


def _turns_s(policy: Policy, groups: Sequence[GroupPairs]) -> float:
    """Seconds that a run takes for turns."""
    return policy.looks[0] * sum(group.turns_s for group in groups)


def _pair_seconds(test: SequentialTest, groups: Sequence[GroupPairs]) -> Floats:
    """Seconds that the next pair takes in each run."""
    seconds, first = np.zeros(_RUNS), 0
    for group in groups:
        measured = test.measured[:, first : first + len(group.cells)]
        seconds += measured @ group.cell_s + measured.any(axis=-1) * group.overhead_s
        first += len(group.cells)
    return seconds

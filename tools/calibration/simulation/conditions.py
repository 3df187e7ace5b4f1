"""Machines that were never recorded: identical code under synthetic noise, from calm to hopeless.

On a new machine it is unknown how much noise fresh processes add, and how much of it all cells of a process share. The
rule must not accuse identical code under any such noise. Where the noise is too large, INCONCLUSIVE is right.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from servegate.judging.estimators import Floats
from servegate.judging.policy import Policy
from servegate.records import Cell, Status
from tools.calibration.certificate.shares import limit_share
from tools.calibration.simulation.simulate import PairTimes, simulate_runs

GROUPS = ("one", "two")
_VALUES = (1, 2, 3, 4)
CELLS = tuple(Cell(group, "load", value) for group, value in product(GROUPS, _VALUES))
_BLOCKS = 4
# Standard deviation of a cell's log ratio by its blocks alone.
_SD_BY_BLOCKS = 0.009
_SDS_BY_PROCESSES = (0.01, 0.02, 0.03, 0.04, 0.06, 0.10)
_CORRELATIONS = (0.0, 0.3, 0.8)
# Distributions of a pair's log ratio. `two modes`: each process is in one of two. `opposite modes`: the two processes
# of a pair are never in the same one. Independent processes can't do that, since the characteristic function of their
# difference is nowhere negative; two that start together and compete for one faster place can.
SHAPES = ("normal", "Laplace", "t with 3 degrees", "two modes", "opposite modes")
# The share of the variance that lies within a mode.
_WITHIN_MODE = 0.1

# The cells that have noise between processes, by place.
PLACES: Mapping[str, Sequence[Cell]] = {"all cells": CELLS, "one group": CELLS[: len(_VALUES)], "one cell": CELLS[:1]}


@dataclass(frozen=True)
class Condition:
    """One machine.

    Attributes
    ----------
    place:
        One of `PLACES`.
    sd:
        Standard deviation that processes add to a cell's log ratio, beyond its blocks.
    shape:
        One of `SHAPES`: how that is distributed.
    correlation:
        The correlation between a group's cells; 0 for a single cell.
    """

    place: str
    sd: float
    shape: str
    correlation: float

    def __str__(self) -> str:
        return f"{self.place}, {self.sd:.0%}, {self.shape}, r = {self.correlation:g}"

    @property
    def seed(self) -> int:
        """Given by the condition's name, so that it can't be chosen by what comes out."""
        return zlib.crc32(str(self).encode())

    @property
    def cells(self) -> Sequence[Cell]:
        """The cells of each pair."""
        return CELLS

    @property
    def times(self) -> PairTimes:
        """No time is known of a machine that doesn't exist."""
        return PairTimes({GROUPS: 0.0}, (0.0,) * len(CELLS))

    def draw(self, rng: np.random.Generator, runs: int, pairs: int) -> tuple[Floats, Floats]:
        """Log ratios and their variances as the blocks give them, each of shape (runs, pairs, cells).

        Blocks are normal, so that their mean and their variance, which follows chi squared, are independent.
        """
        shape = (runs, pairs, len(CELLS))
        by_blocks = rng.standard_normal(shape) * _SD_BY_BLOCKS
        variances = rng.chisquare(_BLOCKS - 1, shape) / (_BLOCKS - 1) * _SD_BY_BLOCKS**2
        own = _draw_standard(self.shape, rng, (runs, pairs, len(GROUPS), len(_VALUES)))
        common = _draw_standard(self.shape, rng, (runs, pairs, len(GROUPS), 1))
        by_processes = np.sqrt(self.correlation) * common + np.sqrt(1 - self.correlation) * own
        sds = [self.sd if cell in PLACES[self.place] else 0.0 for cell in CELLS]
        return by_blocks + by_processes.reshape(shape) * sds, variances


CONDITIONS = tuple(
    Condition(place, sd, shape, correlation)
    for place, sd, shape, correlation in product(PLACES, _SDS_BY_PROCESSES, SHAPES, _CORRELATIONS)
    if correlation == 0 or place != "one cell"
)


def certify_conditions(policy: Policy, runs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Count each verdict of identical code in any group or cell, condition by condition.

    Parameters
    ----------
    policy:
        The gate's, for these groups and cells.
    runs:
        Simulated for each condition.
    """
    return {
        "rule": {"margin": policy.margin, "error_level": policy.error_level, "looks": list(policy.looks)},
        "sd_by_blocks": _SD_BY_BLOCKS,
        "runs": runs,
        "conditions": [_try_condition(condition, policy, runs, progress) for condition in CONDITIONS],
    }


def _try_condition(condition: Condition, policy: Policy, runs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    outcomes = simulate_runs(policy, condition, {}, runs, np.random.default_rng(condition.seed))
    shares = {
        status.lower(): asdict(limit_share(outcomes.is_any(status)))
        for status in (Status.REGRESSED, Status.IMPROVED, Status.INCONCLUSIVE)
    }
    progress(
        f"{condition}: REGRESSED {shares['regressed']['share']:.2%}, {shares['inconclusive']['share']:.1%} unclear"
    )
    return {**asdict(condition), **shares}


def _draw_standard(shape: str, rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    """Mean 0, standard deviation 1."""
    draws: Mapping[str, Callable[[], Floats]] = {
        "normal": lambda: rng.standard_normal(size),
        "Laplace": lambda: rng.laplace(size=size) / np.sqrt(2),
        "t with 3 degrees": lambda: rng.standard_t(3, size) / np.sqrt(3),
        "two modes": lambda: (_draw_mode(rng, size) - _draw_mode(rng, size)) / np.sqrt(2),
        "opposite modes": lambda: _draw_mode(rng, size),
    }
    return draws[shape]()


def _draw_mode(rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
    modes = rng.choice([-1.0, 1.0], size) * np.sqrt(1 - _WITHIN_MODE)
    figures: Floats = modes + rng.standard_normal(size) * np.sqrt(_WITHIN_MODE)
    return figures

"""Thousands of whole runs of the gate at a time, by the very test that judges a live one, on noise that is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from servegate.judging.decisions import Bools, Decision, with_group
from servegate.judging.estimators import Floats
from servegate.judging.policy import Policy
from servegate.judging.sequential import SequentialTest
from servegate.records import Cell, Status

Statuses = np.ndarray[Any, np.dtype[np.str_]]

# A cell's status by its own decision and its group's.
_DECISIONS = [decision for decision in Decision if decision is not Decision.LEFT_OUT]
_STATUS_OF_CELL: Statuses = np.array([[with_group(cell, group)[0] for group in _DECISIONS] for cell in _DECISIONS])
_STATUS_OF_GROUP: Statuses = np.array([decision.status for decision in _DECISIONS])


@dataclass(frozen=True)
class PairTimes:
    """The times of a pair of fresh processes.

    Attributes
    ----------
    start_s:
        Seconds that processes take to start, by the groups that share them.
    cell_s:
        Seconds of each cell's bursts, in their order.
    turns_s:
        Seconds of all turns, which a pair has up to the first look.
    """

    start_s: Mapping[tuple[str, ...], float]
    cell_s: Sequence[float]
    turns_s: float = 0.0


class Noise(Protocol):
    """A source of pairs of identical code."""

    @property
    def cells(self) -> Sequence[Cell]:
        """The cells of each pair."""

    @property
    def times(self) -> PairTimes:
        """The times of a pair."""

    def draw(self, rng: np.random.Generator, runs: int, pairs: int) -> tuple[Floats, Floats]:
        """Log ratios and their variances as the blocks give them, each of shape (runs, pairs, cells)."""


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of simulated runs.

    Attributes
    ----------
    groups, cells:
        Statuses, of shape (runs, groups) and (runs, cells); a cell's as a live run reports it.
    minutes:
        The minutes that each run took.
    """

    groups: Statuses
    cells: Statuses
    minutes: Floats

    def is_any(self, *statuses: Status) -> Bools:
        """The runs in which a group or a cell has one of these."""
        found: Bools = np.any(np.isin(np.hstack([self.groups, self.cells]), statuses), axis=-1)
        return found


def simulate_runs(
    policy: Policy, noise: Noise, effects: Mapping[Cell, float], runs: int, rng: np.random.Generator
) -> Outcomes:
    """Run the comparison so many times, without a limit of time.

    Parameters
    ----------
    effects:
        True log ratio of cells; 0 for those that aren't named.
    """
    log_ratios, variances = noise.draw(rng, runs, policy.looks[-1])
    log_ratios = log_ratios + np.array([effects.get(cell, 0.0) for cell in noise.cells])
    test = SequentialTest(policy, noise.cells, runs=(runs,))
    group_of_cell = np.array([test.group_names.index(cell.group) for cell in noise.cells])
    seconds, before = np.full(runs, policy.looks[0] * noise.times.turns_s), 0
    for look in policy.looks:
        seconds += (look - before) * _pair_seconds(test, group_of_cell, noise.times)
        test.look(log_ratios[:, :look], variances[:, :look])
        before = look
    groups, cells = test.of_groups.decision, test.of_cells.decision
    return Outcomes(_STATUS_OF_GROUP[groups], _STATUS_OF_CELL[cells, groups[:, group_of_cell]], seconds / 60)


def _pair_seconds(test: SequentialTest, group_of_cell: np.ndarray[Any, np.dtype[np.int_]], times: PairTimes) -> Floats:
    """Seconds that the next pair takes in each run: cells that it measures, and the starts of their groups."""
    measured = test.measured
    seconds: Floats = measured @ np.array(times.cell_s)
    for groups, start_s in times.start_s.items():
        numbers = [test.group_names.index(group) for group in groups]
        seconds = seconds + measured[:, np.isin(group_of_cell, numbers)].any(axis=-1) * start_s
    return seconds

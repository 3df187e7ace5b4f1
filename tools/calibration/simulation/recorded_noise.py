"""Draw new pairs of identical code from recorded ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np

from servegate.judging.estimators import Floats
from servegate.measure.pair_plan import Schedule
from servegate.measure.side_by_side import share_processes
from servegate.measure.workers import WorkerTarget
from servegate.records import Cell
from tools.calibration.pairs import PairRecord
from tools.calibration.record import TARGETS
from tools.calibration.simulation.simulate import PairTimes

_BURSTS_OF_A_BLOCK = 4
# A drawn pair is a recorded pair plus _BLUR times a random mixture of _OTHERS recorded pairs; the sum is scaled to have
# the recorded spread. Resampling alone would repeat the same few figures within a run, and a t test would take the
# repetition for precision.
_BLUR, _OTHERS = 0.5, 8


@dataclass(frozen=True)
class RecordedNoise:
    """Recorded pairs of identical code, with as many blocks in each as the schedule has.

    Attributes
    ----------
    log_ratios:
        Means over the chosen blocks; shape (recorded pairs, ways to choose from their blocks, cells).
    variances:
        Variances of these means, estimated from the chosen blocks; same shape.
    """

    cells: tuple[Cell, ...]
    log_ratios: Floats
    variances: Floats
    times: PairTimes

    @classmethod
    def from_pairs(
        cls, pairs: Sequence[PairRecord], cells: Sequence[Cell], schedule: Schedule, turns_s: Mapping[str, float]
    ) -> "RecordedNoise":
        """Choose the blocks of recorded pairs, each of which has as many blocks as the schedule or more.

        A cell's seconds don't include the bursts of the blocks that are left out.

        Parameters
        ----------
        turns_s:
            Seconds of turns in a pair of a run, by the names of the cells that take them, also at a given rate.
        """
        blocks = [[pair.cells[str(cell)].blocks for cell in cells] for pair in pairs]
        choices = max(comb(len(part), schedule.blocks) for pair in blocks for part in pair)
        moments = np.array([[_choose_blocks(part, schedule.blocks, choices) for part in pair] for pair in blocks])
        log_ratios, variances = np.moveaxis(moments, (0, 1, 2, 3), (1, 3, 0, 2))
        return cls(
            tuple(cells), log_ratios, variances, _pair_times(pairs, cells, schedule, float(sum(turns_s.values())))
        )

    def resampled(self, rng: np.random.Generator) -> "RecordedNoise":
        """Draw whole pairs with replacement, for the intervals of a bootstrap."""
        drawn = rng.integers(len(self.log_ratios), size=len(self.log_ratios))
        return replace(self, log_ratios=self.log_ratios[drawn], variances=self.variances[drawn])

    def draw(self, rng: np.random.Generator, runs: int, pairs: int) -> tuple[Floats, Floats]:
        """Draw log ratios, which have the recorded spread, tails and correlation between cells, and their variances.

        Chance decides which arm of identical code is the head, so all log ratios of a pair get the same random sign.
        """
        chosen = self._choose(rng, runs, pairs)
        others = self._choose(rng, runs, pairs, _OTHERS)
        log_ratios = self.log_ratios[chosen] * rng.choice([-1.0, 1.0], (runs, pairs, 1))
        scale = rng.standard_normal((runs, pairs, 1, _OTHERS)) / np.sqrt(_OTHERS)
        blur = (scale @ self.log_ratios[others])[:, :, 0]
        return (log_ratios + _BLUR * blur) / np.sqrt(1 + _BLUR**2), self.variances[chosen]

    def _choose(
        self, rng: np.random.Generator, *shape: int
    ) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]:
        recorded, choices, _ = self.log_ratios.shape
        return rng.integers(recorded, size=shape), rng.integers(choices, size=shape)


def _choose_blocks(blocks: Sequence[float], count: int, choices: int) -> tuple[Floats, Floats]:
    """Compute the mean of `count` blocks and its variance for each way to choose them, `choices` in all.

    If there are fewer ways than that, they are repeated.
    """
    chosen = np.array(list(combinations(blocks, min(count, len(blocks)))))
    places = np.arange(choices) % len(chosen)
    return chosen.mean(axis=1)[places], chosen.var(axis=1, ddof=1)[places] / chosen.shape[1]


def _pair_times(pairs: Sequence[PairRecord], cells: Sequence[Cell], schedule: Schedule, turns_s: float) -> PairTimes:
    by_group: dict[str, list[Cell]] = {}
    for cell in cells:
        by_group.setdefault(cell.group, []).append(cell)
    start_s = {}
    for _, groups in share_processes([(TARGETS[group], of_group) for group, of_group in by_group.items()]):
        any_cell = str(next(iter(groups.values()))[0])
        start_s[tuple(groups)] = float(np.median([pair.cells[any_cell].start_seconds for pair in pairs]))
    return PairTimes(
        start_s,
        cell_s=[float(np.median([_cell_seconds(pair, cell, schedule) for pair in pairs])) for cell in cells],
        turns_s=turns_s,
    )


def _cell_seconds(pair: PairRecord, cell: Cell, schedule: Schedule) -> float:
    """Compute the seconds of a cell, without its turns and without the bursts that are left out.

    A worker's burst lasts for at least one batch.
    """
    recorded, burst_s = pair.cells[str(cell)], pair.burst_s
    if isinstance(TARGETS[cell.group], WorkerTarget):
        burst_s = max(burst_s, int(cell.value) / float(np.median((recorded.base_per_s, recorded.head_per_s))))
    left_out_s = (pair.blocks - schedule.blocks) * _BURSTS_OF_A_BLOCK * burst_s
    return recorded.seconds - left_out_s - pair.turns_s.get(str(cell), 0.0)

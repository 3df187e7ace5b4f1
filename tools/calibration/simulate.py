"""Whole runs of the gate on noise drawn from recorded pairs: what live runs would take weeks to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from servegate.judging.judge import Policy, judge_pairs

from servegate.judging.estimators import midmean_variance
from servegate.records import Status
from tools.calibration.pairs import PairRecord, common_cells

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Drawn pairs are recorded ones blurred by so much of their own spread: resampling alone would repeat the same few
# figures within a run, and a t test would take the repetition for precision.
_BLUR = 0.5


@dataclass(frozen=True)
class Noise:
    """Pairs of identical code as a source of more.

    Attributes
    ----------
    log_ratios:
        Shape (recorded pairs, cells), around 0 for identical code.
    variances:
        Of the log ratios, as each pair's blocks give them; the same shape.
    start_s, cell_s:
        Seconds that a pair's starts take, by group, and that each cell takes.
    """

    cells: tuple[str, ...]
    log_ratios: Floats
    variances: Floats
    start_s: Mapping[str, float]
    cell_s: Mapping[str, float]

    @classmethod
    def from_pairs(cls, pairs: Sequence[PairRecord]) -> "Noise":
        """Fit to recorded pairs of one kind, in the cells that all have; a slowdown's own effect is taken out."""
        cells = common_cells(pairs)
        ratios = np.array([[pair.cells[cell].log_ratio for cell in cells] for pair in pairs])
        variances = np.array([[midmean_variance(pair.cells[cell].blocks) for cell in cells] for pair in pairs])
        if pairs[0].kind != "same":
            ratios -= np.median(ratios, axis=0)
        cell_s = {cell: float(np.median([pair.cells[cell].seconds for pair in pairs])) for cell in cells}
        start_s = {
            group: float(np.median([pair.cells[cell].start_seconds for pair in pairs]))
            for group, cell in {_group(cell): cell for cell in cells}.items()
        }
        return cls(cells, ratios, variances, start_s, cell_s)

    def only(self, cells: Sequence[str]) -> "Noise":
        """That of these cells."""
        places = [self.cells.index(cell) for cell in cells]
        groups = {_group(cell) for cell in cells}
        return replace(
            self,
            cells=tuple(cells),
            log_ratios=self.log_ratios[:, places],
            variances=self.variances[:, places],
            start_s={group: seconds for group, seconds in self.start_s.items() if group in groups},
        )

    def resampled(self, rng: np.random.Generator) -> "Noise":
        """Whole pairs drawn with replacement, for a bootstrap's intervals."""
        drawn = rng.integers(len(self.log_ratios), size=len(self.log_ratios))
        return replace(self, log_ratios=self.log_ratios[drawn], variances=self.variances[drawn])

    def scaled(self, factor: float) -> "Noise":
        """The same with so much of the noise."""
        return replace(self, log_ratios=self.log_ratios * factor, variances=self.variances * factor**2)

    def draw(self, rng: np.random.Generator, pairs: int) -> tuple[Floats, Floats]:
        """Log ratios with the recorded spread, tails and correlation between cells, and their variances.

        Which arm is called the head is chance for identical code, so a pair's signs are turned together at random.

        Returns
        -------
        (log ratios, variances)
            Both of shape (pairs, cells).
        """
        numbers = rng.integers(len(self.log_ratios), size=pairs)
        chosen = self.log_ratios[numbers] * rng.choice([-1.0, 1.0], (pairs, 1))
        others = self.log_ratios[rng.integers(len(self.log_ratios), size=(pairs, 8))]
        blur = (others * rng.standard_normal((pairs, 8, 1))).sum(axis=1) / np.sqrt(8)
        return (chosen + _BLUR * blur) / np.sqrt(1 + _BLUR**2), self.variances[numbers]


def _group(cell: str) -> str:
    return cell.partition("[")[0]


@dataclass(frozen=True)
class Outcome:
    """What one whole run came to."""

    statuses: Mapping[str, Status]
    minutes: float

    @property
    def is_red(self) -> bool:
        """Whether it fails under --perf-strict."""
        return any(status in (Status.REGRESSED, Status.INCONCLUSIVE) for status in self.statuses.values())


def simulate_run(
    policy: Policy, noise: Noise, effects: Mapping[str, float], budget_min: float, rng: np.random.Generator
) -> Outcome:
    """One run side by side: each group's cells pair by pair, until they are decided or the time is over.

    Parameters
    ----------
    effects:
        True log ratio of cells; 0 for those that aren't named.
    budget_min:
        Minutes after which a group's last pair ends.
    """
    ratios, variances = noise.draw(rng, policy.looks[-1])
    ratios = ratios + np.array([effects.get(cell, 0.0) for cell in noise.cells])
    by_cell = {
        cell: (ratios[:, place].tolist(), variances[:, place].tolist()) for place, cell in enumerate(noise.cells)
    }
    statuses: dict[str, Status] = {}
    total_s = 0.0
    for group, start_s in noise.start_s.items():
        open_cells = [cell for cell in noise.cells if _group(cell) == group]
        elapsed_s = 0.0
        for pair in range(1, policy.looks[-1] + 1):
            pair_s = start_s + sum(noise.cell_s[cell] for cell in open_cells)
            elapsed_s += pair_s
            last = pair == policy.looks[-1] or elapsed_s + pair_s > budget_min * 60
            if pair in policy.looks or last:
                for cell in list(open_cells):
                    of_cell = (values[:pair] for values in by_cell[cell])
                    verdict = judge_pairs(policy, *of_cell, last=last) if pair > 1 else None
                    if verdict is not None:
                        statuses[cell] = verdict.status
                        open_cells.remove(cell)
            if last or not open_cells:
                break
        statuses.update(dict.fromkeys(open_cells, Status.INCONCLUSIVE))
        total_s += elapsed_s
    return Outcome(statuses, total_s / 60)

"""Recorded pairs of fresh processes, as `make calibrate` keeps them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from servegate.measure.pair_plan import Schedule
from servegate.records import Cell
from tools.calibration.pairs import CellPair, PairRecord

JUDGED_CELLS = (Cell("model", "batch", 8), Cell("api", "concurrency", 8), Cell("api", "concurrency", 64))
CELLS = tuple(str(cell) for cell in JUDGED_CELLS)
SCHEDULE = Schedule(burst_s=0.3, blocks=6, turn_s=0.0)
# By the groups that share processes.
START_S: Mapping[tuple[str, ...], float] = {("model",): 10.0, ("api",): 20.0}
CELL_S = 10.0


def make_pairs(
    count: int, kind: str = "same", effect: float = 0.0, noise: float = 0.03, block_noise: float = 0.06
) -> list[PairRecord]:
    """Fresh processes that differ by 10 %, and a pair's figure that doesn't know of it.

    Parameters
    ----------
    effect:
        Log ratio of each cell.
    noise, block_noise:
        Standard deviations of a pair's log ratio, and of a block's around it.
    """
    rng = np.random.default_rng(3)
    return [_make_pair(rng, kind, effect, noise, block_noise) for _ in range(count)]


def _make_pair(rng: np.random.Generator, kind: str, effect: float, noise: float, block_noise: float) -> PairRecord:
    cells = {}
    for cell in JUDGED_CELLS:
        log_ratio = effect + noise * rng.standard_normal()
        speed = 100 * np.exp(0.1 * rng.standard_normal())
        rounds = np.exp(0.03 * rng.standard_normal((2, 12)))
        blocks = block_noise * rng.standard_normal(SCHEDULE.blocks)
        cells[str(cell)] = CellPair(
            log_ratio=log_ratio,
            blocks=tuple(log_ratio + blocks - blocks.mean()),
            base_per_s=tuple(speed * rounds[0]),
            head_per_s=tuple(speed * np.exp(effect) * rounds[1]),
            seconds=CELL_S,
            start_seconds=START_S[cell.group,],
        )
    return PairRecord(kind, "tree", "2026-01-01T00:00:00+00:00", SCHEDULE.burst_s, SCHEDULE.blocks, cells)


def keep_api_cells(recorded: list[PairRecord]) -> list[PairRecord]:
    """As pairs of a slowdown that the model alone doesn't meet."""
    return [replace(one, cells={cell: one.cells[cell] for cell in CELLS[1:]}) for one in recorded]

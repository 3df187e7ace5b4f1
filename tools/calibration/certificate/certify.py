"""The certificate: what the recorded pairs and live runs say of the gate on one class of machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.policy import Policy
from servegate.measure.pair_plan import Schedule
from servegate.records import Cell, Status
from tools.calibration.certificate.figures import certify_figures
from tools.calibration.certificate.measured import (
    describe_bias,
    describe_effect,
    describe_live,
    describe_noise,
    describe_stock_rules,
)
from tools.calibration.certificate.shares import limit_share
from tools.calibration.live import RunRecord
from tools.calibration.pairs import PairRecord, common_cells
from tools.calibration.simulation.recorded_noise import RecordedNoise
from tools.calibration.simulation.simulate import Outcomes, Statuses, simulate_runs

# Half the default margin first: what is too small to be looked for.
_ALL_SLOWER = (0.01, 0.02, 0.03, 0.10)
_GROUP_SLOWER, _CELL_SLOWER = 0.03, 0.10


def certify(
    pairs: Sequence[PairRecord],
    runs: Sequence[RunRecord],
    cells: Sequence[Cell],
    policy: Policy,
    figure_policy: FigurePolicy,
    schedule: Schedule,
    turns_s: Mapping[str, float],
    *,
    runs_simulated: int = 10_000,
    bootstraps: int = 40,
) -> dict[str, Any]:
    """All figures of the certificate.

    Parameters
    ----------
    pairs, runs:
        The records of one class of machine.
    cells:
        The cells that the gate judges; those that no pair of identical code has are left out.
    turns_s:
        As in `RecordedNoise.from_pairs`.
    runs_simulated:
        For each figure; a tenth of it for each resampled record of the bootstrap's.
    """
    by_kind: dict[str, list[PairRecord]] = {}
    for pair in pairs:
        by_kind.setdefault(pair.kind, []).append(pair)
    cells = [cell for cell in cells if str(cell) in common_cells(by_kind["same"])]
    noise = RecordedNoise.from_pairs(by_kind["same"], cells, schedule, turns_s)
    rng = np.random.default_rng(1)
    return {
        "recorded_pairs": {kind: len(records) for kind, records in by_kind.items()},
        "noise": {str(cell): describe_noise(by_kind["same"], str(cell)) for cell in cells},
        "bias": {group: describe_bias(by_kind["same"], group) for group in dict.fromkeys(cell.group for cell in cells)},
        "simulated": {
            "runs": runs_simulated,
            "identical_code": _identical(policy, noise, runs_simulated, bootstraps, rng),
            "slower_code": {
                name: _summarise(simulate_runs(policy, noise, effects, runs_simulated, rng), noise)
                for name, effects in _slower(cells).items()
            },
        },
        "injected": {
            kind: {cell: describe_effect(records, cell) for cell in common_cells(records)}
            for kind, records in by_kind.items()
            if kind != "same"
        },
        "live": {
            kind: describe_live(kind, [run for run in runs if run.kind == kind])
            for kind in sorted({run.kind for run in runs})
        },
        "stock_rules": describe_stock_rules(by_kind),
        "figures": certify_figures(by_kind, figure_policy, turns_s, runs_simulated, rng),
    }


def _slower(cells: Sequence[Cell]) -> dict[str, dict[Cell, float]]:
    """Changes by name, as log ratios of cells."""
    groups = dict.fromkeys(cell.group for cell in cells)
    return {
        **{f"all cells {size:.0%} slower": dict.fromkeys(cells, np.log1p(-size)) for size in _ALL_SLOWER},
        **{
            f"{group} {_GROUP_SLOWER:.0%} slower": {
                cell: np.log1p(-_GROUP_SLOWER) for cell in cells if cell.group == group
            }
            for group in groups
        },
        **{f"{cell} {_CELL_SLOWER:.0%} slower": {cell: np.log1p(-_CELL_SLOWER)} for cell in cells},
    }


def _summarise(outcomes: Outcomes, noise: RecordedNoise) -> dict[str, Any]:
    """Shares of runs with a verdict in any group or cell, and of groups and cells that are REGRESSED; minutes."""
    groups = tuple(dict.fromkeys(cell.group for cell in noise.cells))
    return {
        "regressed": asdict(limit_share(outcomes.is_any(Status.REGRESSED))),
        "improved": asdict(limit_share(outcomes.is_any(Status.IMPROVED))),
        "red": asdict(limit_share(outcomes.is_any(Status.REGRESSED, Status.INCONCLUSIVE))),
        "regressed_groups": dict(zip(groups, _shares_regressed(outcomes.groups), strict=True)),
        "regressed_cells": dict(zip(map(str, noise.cells), _shares_regressed(outcomes.cells), strict=True)),
        "minutes": {
            "median": round(float(np.median(outcomes.minutes)), 1),
            "95 %": round(float(np.quantile(outcomes.minutes, 0.95)), 1),
            "longest": round(float(outcomes.minutes.max()), 1),
        },
    }


def _shares_regressed(statuses: Statuses) -> list[dict[str, Any]]:
    return [asdict(limit_share(column == Status.REGRESSED)) for column in statuses.T]


def _identical(
    policy: Policy, noise: RecordedNoise, runs: int, bootstraps: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Each figure of identical code, and the 90 % intervals of a bootstrap over whole pairs."""
    resampled = [
        _summarise(simulate_runs(policy, noise.resampled(rng), {}, max(1, runs // 10), rng), noise)
        for _ in range(bootstraps)
    ]
    intervals = {
        name: [
            round(float(np.quantile(values, 0.05, method="lower")), 4),
            round(float(np.quantile(values, 0.95, method="higher")), 4),
        ]
        for name, values in (
            *((name, [figures[name]["share"] for figures in resampled]) for name in ("regressed", "improved", "red")),
            ("median minutes", [figures["minutes"]["median"] for figures in resampled]),
        )
    }
    return {**_summarise(simulate_runs(policy, noise, {}, runs, rng), noise), "bootstrap": intervals}

"""Describe recorded pairs and live runs by themselves, without a simulation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from servegate.judging.estimators import paired_mean
from servegate.judging.sequential import pool_cells
from servegate.records import Status
from tools.calibration.certificate.shares import interval_of
from tools.calibration.certificate.stock_rules import red_runs
from tools.calibration.injections.faults import FAULTS
from tools.calibration.live import RunRecord
from tools.calibration.pairs import PairRecord

# A constant difference between the arms of identical code that the gate can bear: no pair averages it out.
_BIAS_BORNE = 0.003
_LEAST_PAIRS = 4  # of a kind, for the rules in common use


def describe_noise(pairs: Sequence[PairRecord], cell: str) -> dict[str, float]:
    """Standard deviations as shares: of pairs, of blocks, and how much of the pairs' the blocks explain."""
    blocks = [pair.cells[cell].blocks for pair in pairs]
    block_sd = float(np.sqrt(np.mean([np.var(part, ddof=1) for part in blocks])))
    explained = float(np.sqrt(np.mean([np.var(part, ddof=1) / len(part) for part in blocks])))
    pair_sd = float(np.sqrt(np.mean([np.mean(part) ** 2 for part in blocks])))
    return {
        "pair_sd": round(pair_sd, 4),
        "block_sd": round(block_sd, 4),
        "pair_sd_from_blocks": round(explained, 4),
        "pair_sd_from_processes": round(float(np.sqrt(max(0.0, pair_sd**2 - explained**2))), 4),
        "seconds": median(pair.cells[cell].seconds for pair in pairs),
    }


def describe_bias(pairs: Sequence[PairRecord], group: str) -> dict[str, Any]:
    """Estimate how much the head differs from the base over all pairs of identical code.

    A verdict is spoiled by a difference of 0.3 % and more: whether it is excluded, found, or neither.
    """
    blocks = [[part.blocks for cell, part in pair.cells.items() if cell.startswith(f"{group}[")] for pair in pairs]
    log_ratios = np.array([[np.mean(part) for part in pair] for pair in blocks])
    variances = np.array([[np.var(part, ddof=1) / len(part) for part in pair] for pair in blocks])
    means, _ = pool_cells(log_ratios, variances, np.full(log_ratios.shape[1], fill_value=True))
    change = paired_mean(means[:, 0].tolist()).as_change()
    if change.low > -_BIAS_BORNE and change.high < _BIAS_BORNE:
        verdict = "within"
    elif change.high < -_BIAS_BORNE or change.low > _BIAS_BORNE:
        verdict = "beyond"
    else:
        verdict = "unknown"
    return {
        "change": round(change.estimate, 5),
        "low": round(change.low, 5),
        "high": round(change.high, 5),
        "borne": _BIAS_BORNE,
        "verdict": verdict,
        "pair_sd": round(float(np.std(means, ddof=1)), 5),
    }


def describe_effect(pairs: Sequence[PairRecord], cell: str) -> dict[str, float]:
    """Estimate what an injected slowdown costs a cell."""
    log_ratios = [np.mean(pair.cells[cell].blocks) for pair in pairs]
    return {"change": round(float(np.expm1(np.mean(log_ratios))), 4), "pairs": len(log_ratios)}


def describe_live(kind: str, runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Count verdicts with exact 95 % intervals, and list the first sentences of the runs of a kind.

    A run has found a fault if a figure that the fault is meant to show in is REGRESSED, and several if each is found.
    """
    faults = FAULTS[kind].parts if kind in FAULTS else ()
    found = [all(_regressed(run).intersection(fault.figures) for fault in faults) for run in runs]
    return {
        "runs": len(runs),
        "red": asdict(interval_of(sum(run.exit_status != 0 for run in runs), len(runs))),
        "regressed": asdict(interval_of(sum("REGRESSED" in run.verdicts.values() for run in runs), len(runs))),
        **({"found": asdict(interval_of(sum(found), len(runs)))} if faults else {}),
        "verdicts": dict(Counter(verdict for run in runs for verdict in run.verdicts.values())),
        "looks": dict(Counter(" ".join(map(str, run.looks)) or "not recorded" for run in runs)),
        "median_minutes": round(median(run.minutes for run in runs), 1),
        "sentences": [run.sentence for run in runs],
    }


def _regressed(run: RunRecord) -> set[str]:
    """The figures that a run found worse, `throughput` of a group among them."""
    groups = {cell.partition("[")[0] for cell, verdict in run.verdicts.items() if verdict == Status.REGRESSED}
    figures = {figure for figure, verdict in run.figures.items() if verdict == Status.REGRESSED}
    return {f"{group} throughput" for group in groups} | figures


def describe_stock_rules(by_kind: Mapping[str, Sequence[PairRecord]]) -> dict[str, dict[str, Any]]:
    """Count the runs that each rule in common use would have called red, by kind; any cell counts."""
    same = by_kind["same"]
    figures: dict[str, dict[str, Any]] = {}
    for kind, pairs in by_kind.items():
        length = min(len(same), len(pairs))
        if length < _LEAST_PAIRS:
            continue
        for rule, red in red_runs(same[:length], pairs[:length]).items():
            figures.setdefault(rule, {})[kind] = asdict(interval_of(sum(red), len(red)))
    return figures

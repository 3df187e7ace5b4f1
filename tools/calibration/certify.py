"""The certificate: what the recorded pairs and live runs say of the gate on one class of machine."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import binomtest
from servegate.judging.judge import Policy

from servegate.judging.estimators import midmean_variance
from servegate.records import Status
from tools.calibration.live import RunRecord
from tools.calibration.pairs import PairRecord, common_cells
from tools.calibration.simulate import Noise, Outcome, simulate_run
from tools.calibration.stock_rules import red_runs

SIZES = (0.03, 0.05, 0.10, 0.20)
_LEAST_PAIRS = 4  # of a slowed kind, for a noise of its own


def certify(
    pairs: Sequence[PairRecord],
    runs: Sequence[RunRecord],
    policy: Policy,
    budget_min: float,
    *,
    runs_simulated: int = 1000,
    bootstraps: int = 40,
) -> dict[str, Any]:
    """All figures of the certificate.

    Parameters
    ----------
    pairs, runs:
        Of one service on one class of machine.
    budget_min:
        A group's time budget in the simulated runs.
    runs_simulated:
        For each figure; a tenth of it for each resampled record of the bootstrap's.
    """
    rng = np.random.default_rng(1)
    by_kind: dict[str, list[PairRecord]] = {}
    for pair in pairs:
        by_kind.setdefault(pair.kind, []).append(pair)
    same = Noise.from_pairs(by_kind["same"])

    def identical(noise: Noise, count: int) -> list[Outcome]:
        return [simulate_run(policy, noise, {}, budget_min, rng) for _ in range(count)]

    return {
        "recorded_pairs": {kind: len(records) for kind, records in by_kind.items()},
        "noise": {cell: _noise_of(by_kind["same"], cell) for cell in same.cells},
        "simulated": {
            "identical_code": _with_intervals(same, identical, runs_simulated, bootstraps, rng),
            "identical_code_at_a_tenth_of_the_noise": _summary(identical(same.scaled(0.1), runs_simulated)),
            "power": {
                name: {
                    f"{size:.0%}": _power(policy, noise, same, size, budget_min, runs_simulated, rng) for size in SIZES
                }
                for name, noise in _noises(by_kind, same)
            },
        },
        "injected": {
            kind: {cell: _effect(records, cell) for cell in common_cells(records)}
            for kind, records in by_kind.items()
            if kind != "same"
        },
        "live": {kind: _live([run for run in runs if run.kind == kind]) for kind in sorted({run.kind for run in runs})},
        "stock_rules": _stock(by_kind),
    }


def binomial(count: int, total: int) -> dict[str, float]:
    """A count with its exact 95 % interval (Clopper and Pearson)."""
    interval = binomtest(count, total).proportion_ci(method="exact")
    return {"count": count, "of": total, "low": round(interval.low, 4), "high": round(interval.high, 4)}


def _noises(by_kind: Mapping[str, Sequence[PairRecord]], same: Noise) -> Iterable[tuple[str, Noise]]:
    yield "noise of identical code", same
    for stage in ("decode", "predict"):
        slowed = [pairs for kind, pairs in by_kind.items() if kind.startswith(stage) and len(pairs) > 1]
        if sum(map(len, slowed)) >= _LEAST_PAIRS:
            cells = common_cells([pair for pairs in slowed for pair in pairs])
            noises = [Noise.from_pairs(pairs).only(cells) for pairs in slowed]
            yield (
                f"noise of a slower {stage}",
                replace(
                    same.only(cells),
                    log_ratios=np.concatenate([noise.log_ratios for noise in noises]),
                    variances=np.concatenate([noise.variances for noise in noises]),
                ),
            )


def _noise_of(pairs: Sequence[PairRecord], cell: str) -> dict[str, float]:
    """Standard deviations as shares: of pairs, of blocks, and how much of the pairs' the blocks explain."""
    ratios = [pair.cells[cell].log_ratio for pair in pairs]
    blocks = [pair.cells[cell].blocks for pair in pairs]
    block_sd = float(np.sqrt(np.mean([np.var(part, ddof=1) for part in blocks])))
    explained = float(np.sqrt(np.mean([midmean_variance(part) for part in blocks])))
    pair_sd = float(np.sqrt(np.mean(np.square(ratios))))
    return {
        "pair_sd": round(pair_sd, 4),
        "block_sd": round(block_sd, 4),
        "pair_sd_from_blocks": round(explained, 4),
        "pair_sd_from_processes": round(float(np.sqrt(max(0.0, pair_sd**2 - explained**2))), 4),
        "seconds": median(pair.cells[cell].seconds for pair in pairs),
    }


def _summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    return {
        "regressed": _share(Status.REGRESSED in outcome.statuses.values() for outcome in outcomes),
        "inconclusive": _share(Status.INCONCLUSIVE in outcome.statuses.values() for outcome in outcomes),
        "red": _share(outcome.is_red for outcome in outcomes),
        "median_minutes": round(median(outcome.minutes for outcome in outcomes), 1),
    }


def _with_intervals(
    noise: Noise,
    run: Callable[[Noise, int], list[Outcome]],
    runs: int,
    bootstraps: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Each figure with the 90 % interval of a bootstrap over whole pairs."""
    resampled = [_summary(run(noise.resampled(rng), max(1, runs // 10))) for _ in range(bootstraps)]
    return {
        name: {
            "estimate": value,
            "low": round(float(np.quantile([figures[name] for figures in resampled], 0.05)), 4),
            "high": round(float(np.quantile([figures[name] for figures in resampled], 0.95)), 4),
        }
        for name, value in _summary(run(noise, runs)).items()
    }


def _power(
    policy: Policy, noise: Noise, same: Noise, size: float, budget_min: float, runs: int, rng: np.random.Generator
) -> dict[str, Any]:
    """How often each of the noise's cells is found when it is slower by so much, and how long that takes when all are.

    The other cells of the run are as fast as before; they take their time.
    """
    effects = dict.fromkeys(noise.cells, float(np.log1p(-size)))
    others = same.only([cell for cell in same.cells if cell not in noise.cells])
    outcomes = []
    for _ in range(runs):
        slower, alike = (simulate_run(policy, part, effects, budget_min, rng) for part in (noise, others))
        outcomes.append(Outcome({**slower.statuses, **alike.statuses}, slower.minutes + alike.minutes))
    return {
        "regressed": {
            cell: _share(outcome.statuses[cell] is Status.REGRESSED for outcome in outcomes) for cell in noise.cells
        },
        "passed": {cell: _share(outcome.statuses[cell] is Status.PASS for outcome in outcomes) for cell in noise.cells},
        "median_minutes": round(median(outcome.minutes for outcome in outcomes), 1),
    }


def _effect(pairs: Sequence[PairRecord], cell: str) -> dict[str, float]:
    ratios = [pair.cells[cell].log_ratio for pair in pairs]
    return {"change": round(float(np.expm1(np.mean(ratios))), 4), "pairs": len(ratios)}


def _live(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Counts with exact binomial intervals (Clopper and Pearson, 95 %)."""
    red = sum(run.exit_status != 0 for run in runs)
    accused = sum("REGRESSED" in run.verdicts.values() for run in runs)
    return {
        "runs": len(runs),
        "red": binomial(red, len(runs)),
        "regressed": binomial(accused, len(runs)),
        "verdicts": dict(Counter(verdict for run in runs for verdict in run.verdicts.values())),
        "median_minutes": round(median(run.minutes for run in runs), 1),
    }


def _stock(by_kind: Mapping[str, Sequence[PairRecord]]) -> dict[str, dict[str, Any]]:
    """Of each rule, by kind: the share of runs that it would have called red, any cell counting."""
    same = by_kind["same"]
    figures: dict[str, dict[str, Any]] = {}
    for kind, pairs in by_kind.items():
        length = min(len(same), len(pairs))
        if length < _LEAST_PAIRS:
            continue
        for rule, red in red_runs(same[:length], pairs[:length]).items():
            figures.setdefault(rule, {})[kind] = binomial(sum(red), len(red))
    return figures


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return round(sum(counted) / len(counted), 4)

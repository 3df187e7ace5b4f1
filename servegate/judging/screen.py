"""The judge by a stored baseline alone: a group first, its cells behind it, as in a comparison side by side.

Everything is tested on the logarithm of throughput: ratios become differences, and the spread of fast and slow machines
is comparable. docs/how-it-works.md states the definitions.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from servegate.judging.absolute.validity import why_invalid
from servegate.judging.decisions import Decision, decide, excluded_slowdown, explain, with_group
from servegate.judging.estimators import MeanDifference, predict_mean, robust_spread, typical_rate
from servegate.judging.policy import Policy, Thresholds
from servegate.records import Cell, Sample, Status, Verdict


def screen_group(
    policy: Policy, stored: Mapping[str, Sequence[float]], measured: Mapping[Cell, Sequence[Sample]]
) -> dict[Cell, Verdict]:
    """Judge the cells of one group.

    Parameters
    ----------
    stored:
        Throughput of each stored process by the cell's name, the same processes for all cells.
    measured:
        The samples of each cell by this run's fresh processes, the same processes for all cells, at least one.
    """
    unjudged = {cell: _why_unjudged(policy, stored, cell, samples) for cell, samples in measured.items()}
    verdicts = {cell: verdict for cell, verdict in unjudged.items() if verdict is not None}
    judged = {cell: samples for cell, samples in measured.items() if cell not in verdicts}
    if not judged:
        return verdicts
    before = [[math.log(rate) for rate in stored[str(cell)]] for cell in judged]
    now = [[math.log(sample.throughput_per_s) for sample in samples] for samples in judged.values()]
    group_change = predict_mean(np.mean(before, axis=0).tolist(), np.mean(now, axis=0).tolist())
    group, _ = _decide(group_change, policy.of_group(next(iter(judged)).group), policy.group_error_level)
    for (cell, samples), old, new in zip(judged.items(), before, now, strict=True):
        change, limits = predict_mean(old, new), policy.of_cell(cell)
        decision, excluded = _decide(change, limits, policy.cell_error_level)
        status, is_by_group = with_group(decision, group)
        why = f"{cell.group} is {status} as a whole" if is_by_group else explain(decision, limits, excluded)
        if status in (Status.REGRESSED, Status.IMPROVED):
            why += "; by the stored baseline alone, drift not excluded"
        rates = [sample.throughput_per_s for sample in samples]
        verdicts[cell] = Verdict(
            status,
            f"throughput {change.as_change().estimate:+.1%}; {why}",
            now_per_s=typical_rate(rates, stored=False),
            baseline_per_s=typical_rate(stored[str(cell)], stored=True),
            change=change.as_change(),
            evidence=_describe(policy, stored[str(cell)], rates, change, group_change),
        )
    return verdicts


def _why_unjudged(
    policy: Policy, stored: Mapping[str, Sequence[float]], cell: Cell, samples: Sequence[Sample]
) -> Verdict | None:
    """INVALID, NO_BASELINE, or None for a cell that can be judged."""
    invalid = why_invalid(samples, policy.client_ceiling_cores)
    if invalid:
        return Verdict(Status.INVALID, invalid)
    if str(cell) not in stored:
        now_per_s = typical_rate([sample.throughput_per_s for sample in samples], stored=False)
        return Verdict(Status.NO_BASELINE, "the baseline has no such cell", now_per_s=now_per_s)
    return None


def _decide(change: MeanDifference, limits: Thresholds, error_level: float) -> tuple[Decision, float]:
    accused_from, excluded = np.array(limits.accused_from), np.array(limits.excluded)
    decision = Decision(int(decide(change, accused_from, excluded, error_level, share=1.0)))
    return decision, float(excluded_slowdown(change, 1.0))


def _describe(
    policy: Policy, stored: Sequence[float], now: Sequence[float], change: MeanDifference, group: MeanDifference
) -> tuple[str, ...]:
    spread = robust_spread([math.log(rate) for rate in stored])
    return (
        f"baseline {typical_rate(stored, stored=True):.1f}/s: {_join(stored)}",
        f"now      {typical_rate(now, stored=False):.1f}/s: {_join(now)}",
        f"change   {change.as_change()} (95 % interval); stored processes differ by {spread:.1%} (standard deviation)",
        f"p of a drop this large without a change {float(change.p_lower()):.2g}; accused below "
        f"{policy.cell_error_level:.2g}",
        f"group    {group.as_change()}, p {float(group.p_lower()):.2g}; accused below {policy.group_error_level:.2g}",
    )


def _join(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)

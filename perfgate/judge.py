"""The rule: (policy, baseline samples, samples) to a verdict with its evidence. Pure.

Everything is tested on the logarithm of throughput: ratios become differences, and the spread of fast and slow machines
is comparable. docs/how-it-works.md states the definitions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.records import Change, Sample, Status, Verdict
from perfgate.stats import MeanDifference, geometric_mean, predict_mean

_INTERVAL_CONFIDENCE = 0.975  # one-sided at both ends: a 95 % interval
_FAILURES_SHOWN = 3


@dataclass(frozen=True)
class Exclusion:
    """A slowdown that PASS must exclude, and with which one-sided confidence."""

    slowdown: float
    confidence: float


@dataclass(frozen=True)
class Policy:
    """What counts as a change.

    Attributes
    ----------
    margin:
        Smallest change that is accused, as a share of throughput.
    error_level:
        Probability that a run of identical code is accused, over all gated cells.
    gated_cells:
        Over how many cells the error level is shared (Bonferroni).
    exclusions:
        What PASS means.
    client_ceiling_cores:
        A client that uses more than this of its one core is the bottleneck.
    """

    margin: float = 0.03
    error_level: float = 0.01
    gated_cells: int = 1
    exclusions: tuple[Exclusion, ...] = (Exclusion(0.10, 0.95), Exclusion(0.05, 0.80))
    client_ceiling_cores: float = 0.9

    @property
    def cell_error_level(self) -> float:
        """One cell's share of the error level."""
        return self.error_level / self.gated_cells


def judge(policy: Policy, baseline: Sequence[float] | None, samples: Sequence[Sample]) -> Verdict:
    """Judge one cell by the stored baseline alone.

    Parameters
    ----------
    policy:
        What counts as a change.
    baseline:
        Throughput of each stored process; None when the baseline has no such cell.
    samples:
        What fresh processes of this run measured, at least one.
    """
    invalid = _why_invalid(policy, samples)
    if invalid:
        return Verdict(Status.INVALID, invalid)
    now = [sample.throughput_per_s for sample in samples]
    now_per_s = geometric_mean(now)
    if baseline is None:
        return Verdict(Status.NO_BASELINE, "the baseline has no such cell", now_per_s=now_per_s)

    prediction = predict_mean([math.log(value) for value in baseline], [math.log(value) for value in now])
    status, reason = _decide(policy, prediction)
    change = Change(
        math.expm1(prediction.difference),
        math.expm1(prediction.lower_bound(_INTERVAL_CONFIDENCE)),
        math.expm1(prediction.upper_bound(_INTERVAL_CONFIDENCE)),
    )
    spread = prediction.standard_error / math.sqrt(1 / len(baseline) + 1 / len(now))
    return Verdict(
        status,
        reason,
        now_per_s=now_per_s,
        baseline_per_s=geometric_mean(baseline),
        change=change,
        evidence=(
            f"baseline {geometric_mean(baseline):.1f}/s: {_join(baseline)}",
            f"now      {now_per_s:.1f}/s: {_join(now)}",
            f"change   {change} (95 % interval); stored processes differ by {spread:.1%} (standard deviation)",
            f"p of a drop this large without a change {prediction.p_lower():.2g}; accused below "
            f"{policy.cell_error_level:.2g} ({policy.error_level:g} over {policy.gated_cells} cells)",
        ),
    )


def _decide(policy: Policy, prediction: MeanDifference) -> tuple[Status, str]:
    change = math.expm1(prediction.difference)
    if change <= -policy.margin and prediction.p_lower() < policy.cell_error_level:
        return Status.REGRESSED, (
            f"throughput {change:+.1%}, more than the margin of {policy.margin:.0%} and than fresh processes differ; "
            "by the stored baseline alone, drift not excluded"
        )
    if change >= policy.margin and prediction.p_higher() < policy.cell_error_level:
        return Status.IMPROVED, f"throughput {change:+.1%}, more than fresh processes differ"
    open_exclusions = [
        exclusion
        for exclusion in policy.exclusions
        if prediction.lower_bound(exclusion.confidence) <= math.log1p(-exclusion.slowdown)
    ]
    if not open_exclusions:
        excluded = " and ".join(f"{item.slowdown:.0%} at {item.confidence:.0%}" for item in policy.exclusions)
        return Status.PASS, f"throughput {change:+.1%}; a slowdown of {excluded} is excluded"
    still_open = " and ".join(f"{item.slowdown:.0%} at {item.confidence:.0%}" for item in open_exclusions)
    return Status.INCONCLUSIVE, (
        f"throughput {change:+.1%}; the stored baseline can't exclude a slowdown of {still_open} on this noisy machine"
    )


def _why_invalid(policy: Policy, samples: Sequence[Sample]) -> str | None:
    failures = [failure for sample in samples for failure in sample.failures]
    if failures:
        answers = sum(sample.answers for sample in samples)
        shown = "; ".join(dict.fromkeys(failures[:_FAILURES_SHOWN]))
        return f"{len(failures)} of {answers} answers were wrong or failed: {shown}"
    busiest = max((sample.client_cpu_cores or 0.0 for sample in samples), default=0.0)
    if busiest > policy.client_ceiling_cores:
        return (
            f"the client used {busiest:.2f} of its one core (ceiling {policy.client_ceiling_cores:g}): "
            "it was the bottleneck, not the service"
        )
    return None


def _join(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)

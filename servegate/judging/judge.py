"""The rule: (policy, baseline samples, samples) to a verdict with its evidence. Pure.

Everything is tested on the logarithm of throughput: ratios become differences, and the spread of fast and slow machines
is comparable. docs/how-it-works.md states the definitions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from servegate.judging.estimators import (
    MeanDifference,
    mean_of_pairs,
    most_of_known,
    predict_mean,
    robust_spread,
    typical_rate,
)
from servegate.records import Sample, Status, Verdict

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
    looks:
        After how many pairs of fresh processes a comparison side by side is judged; declared beforehand, and what a
        verdict may err is spent over them.
    client_ceiling_cores:
        A client that uses more than this of its one core is the bottleneck.
    """

    margin: float = 0.03
    error_level: float = 0.01
    gated_cells: int = 1
    exclusions: tuple[Exclusion, ...] = (Exclusion(0.10, 0.95), Exclusion(0.05, 0.80))
    looks: tuple[int, ...] = (3, 5, 8, 12, 20)
    client_ceiling_cores: float = 0.9

    @property
    def cell_error_level(self) -> float:
        """One cell's share of the error level."""
        return self.error_level / self.gated_cells

    def look_share(self, pairs: int, *, last: bool) -> float:
        """The share of every error probability that a look after so many pairs may spend; all looks together: 1.

        It is spent in proportion to the pairs; the last look takes the rest. The looks' probabilities are added up
        (Bonferroni), so this holds however they depend on each other.

        References
        ----------
        K. Kim and D. L. DeMets, Design and analysis of group sequential tests based on the type I error spending rate
        function (Biometrika 74, 1987): the power family, here with power 1.
        """
        before = max((look for look in self.looks if look < pairs), default=0)
        return ((self.looks[-1] if last else pairs) - before) / self.looks[-1]


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
    invalid = why_invalid(policy, samples)
    if invalid:
        return Verdict(Status.INVALID, invalid)
    now = [sample.throughput_per_s for sample in samples]
    now_per_s = typical_rate(now, stored=False)
    if baseline is None:
        return Verdict(Status.NO_BASELINE, "the baseline has no such cell", now_per_s=now_per_s)

    prediction = predict_mean([math.log(value) for value in baseline], [math.log(value) for value in now])
    status = _decide(policy, prediction, share=1.0)
    change = prediction.as_change()
    baseline_per_s = typical_rate(baseline, stored=True)
    spread = robust_spread([math.log(value) for value in baseline])
    return Verdict(
        status,
        f"throughput {change.estimate:+.1%}; {_explain(policy, status, prediction, share=1.0)}"
        + ("; by the stored baseline alone, drift not excluded" if status is Status.REGRESSED else ""),
        now_per_s=now_per_s,
        baseline_per_s=baseline_per_s,
        change=change,
        evidence=(
            f"baseline {baseline_per_s:.1f}/s: {_join(baseline)}",
            f"now      {now_per_s:.1f}/s: {_join(now)}",
            f"change   {change} (95 % interval); stored processes differ by {spread:.1%} (standard deviation)",
            f"p of a drop this large without a change {prediction.p_lower():.2g}; accused below "
            f"{policy.cell_error_level:.2g} ({policy.error_level:g} over {policy.gated_cells} cells)",
        ),
    )


def judge_pairs(
    policy: Policy, log_ratios: Sequence[float], variances: Sequence[float], *, last: bool
) -> Verdict | None:
    """Judge one cell by a comparison side by side, at one of the declared looks.

    Parameters
    ----------
    policy:
        What counts as a change.
    log_ratios:
        log(head / base) of each pair of fresh processes, at least two.
    variances:
        Of each log ratio, from the pair's own blocks.
    last:
        Whether no more pairs will come.

    Returns
    -------
    Verdict or None
        None when more pairs are needed. The t test has no smallest p that it can reach; how small it must be
        at this look stands in the evidence.
    """
    difference = mean_of_pairs(log_ratios, variances)
    share = policy.look_share(len(log_ratios), last=last)
    status = _decide(policy, difference, share)
    if status is Status.INCONCLUSIVE and not last:
        return None
    change = difference.as_change()
    spread = difference.standard_error * math.sqrt(len(log_ratios))
    return Verdict(
        status,
        f"throughput {change.estimate:+.1%} side by side; {_explain(policy, status, difference, share)}",
        change=change,
        evidence=(
            f"pairs    {' '.join(f'{math.expm1(value):+.1%}' for value in log_ratios)}",
            f"change   {change} (95 % interval); pairs differ by {spread:.1%} (standard deviation)",
            f"p of a drop this large without a change {difference.p_lower():.2g}; accused below "
            f"{policy.cell_error_level * share:.2g} ({policy.error_level:g} over {policy.gated_cells} cells, "
            f"{share:.0%} of it at this look; looks at {', '.join(map(str, policy.looks))} pairs)",
        ),
    )


def _decide(policy: Policy, difference: MeanDifference, share: float) -> Status:
    change = math.expm1(difference.difference)
    error_level = policy.cell_error_level * share
    if change <= -policy.margin and difference.p_lower() < error_level:
        return Status.REGRESSED
    if change >= policy.margin and difference.p_higher() < error_level:
        return Status.IMPROVED
    return Status.INCONCLUSIVE if _open_exclusions(policy, difference, share) else Status.PASS


def _open_exclusions(policy: Policy, difference: MeanDifference, share: float) -> list[Exclusion]:
    return [
        exclusion
        for exclusion in policy.exclusions
        if difference.lower_bound(1 - (1 - exclusion.confidence) * share) <= math.log1p(-exclusion.slowdown)
    ]


def _explain(policy: Policy, status: Status, difference: MeanDifference, share: float) -> str:
    if status in (Status.REGRESSED, Status.IMPROVED):
        return f"more than the margin of {policy.margin:.0%} and than fresh processes differ"
    exclusions = policy.exclusions if status is Status.PASS else _open_exclusions(policy, difference, share)
    slowdowns = " and ".join(f"{item.slowdown:.0%} at {item.confidence:.0%}" for item in exclusions)
    if status is Status.PASS:
        return f"a slowdown of {slowdowns} is excluded"
    return f"too noisy: can't exclude a slowdown of {slowdowns}"


def why_invalid(policy: Policy, samples: Sequence[Sample]) -> str | None:
    """Why these samples can't be judged: wrong answers, a client at its ceiling, a GPU that slowed itself down."""
    failures = describe_failures(samples)
    if failures:
        return failures
    busiest = max((sample.client_cpu_cores or 0.0 for sample in samples), default=0.0)
    if busiest > policy.client_ceiling_cores:
        return (
            f"the client used {busiest:.2f} of its one core (ceiling {policy.client_ceiling_cores:g}): "
            "it was the bottleneck, not the service"
        )
    gpus = [sample.telemetry.gpu for sample in samples if sample.telemetry is not None and sample.telemetry.gpu]
    slowed_by = dict.fromkeys(reason for gpu in gpus for reason in gpu.slowed_by)
    if slowed_by:
        hottest_c = most_of_known(gpu.temperature_c for gpu in gpus)
        heat = "" if hottest_c is None else f" at up to {hottest_c:.0f} degrees Celsius"
        return f"the GPU was slowed by {', '.join(slowed_by)}{heat}: what was measured is its cooling or its power"
    return None


def describe_failures(samples: Sequence[Sample]) -> str | None:
    """How many answers were wrong or failed, and the first of them; None if all were right."""
    failures = [failure for sample in samples for failure in sample.failures]
    if not failures:
        return None
    answers = sum(sample.answers for sample in samples)
    shown = "; ".join(dict.fromkeys(failures[:_FAILURES_SHOWN]))
    return f"{len(failures)} of {answers} answers were wrong or failed: {shown}"


def _join(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)

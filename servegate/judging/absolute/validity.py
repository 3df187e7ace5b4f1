"""Whether what was measured can be judged at all."""

from collections.abc import Sequence

from servegate.judging.estimators import geometric_mean, most_of_known
from servegate.records import Sample, Status, Verdict

_FAILURES_SHOWN = 3


def why_unjudged(base: Sequence[Sample], head: Sequence[Sample], client_ceiling_cores: float) -> Verdict | None:
    """The verdict of a cell whose samples of the two arms can't be compared; None if they can."""
    invalid = why_invalid(head, client_ceiling_cores)
    if invalid:
        return Verdict(Status.INVALID, invalid)
    wrong = describe_failures(base)
    if wrong:
        return Verdict(Status.BASE_FAILED, f"the base can't serve this cell: {wrong}", now_per_s=mean_rate_per_s(head))
    invalid = why_invalid(base, client_ceiling_cores)
    return Verdict(Status.INVALID, f"in the base, {invalid}") if invalid else None


def why_wrong(base: Sample, head: Sample) -> Verdict | None:
    """The verdict of a cell that was answered wrongly in a pair, whatever that pair measured; None if it was not."""
    wrong = describe_failures([head])
    if wrong:
        return Verdict(Status.INVALID, wrong)
    wrong = describe_failures([base])
    return Verdict(Status.BASE_FAILED, f"the base can't serve this cell: {wrong}") if wrong else None


def mean_rate_per_s(samples: Sequence[Sample]) -> float | None:
    """Throughput over all samples; None where one of them has none."""
    if not samples or not all(sample.rounds_s for sample in samples):
        return None
    return geometric_mean([sample.mean_throughput_per_s for sample in samples])


def why_invalid(samples: Sequence[Sample], client_ceiling_cores: float) -> str | None:
    """Why these samples can't be judged: wrong answers, a client at its ceiling, a GPU that slowed itself down."""
    failures = describe_failures(samples)
    if failures:
        return failures
    busiest = max((cores for sample in samples for cores in sample.client_cores), default=0.0)
    if busiest > client_ceiling_cores:
        return (
            f"a client process used {busiest:.2f} of its one core (ceiling {client_ceiling_cores:g}): "
            "the client was the bottleneck, not the service; where cores are free, let more processes share the load "
            "(--perf-load-processes)"
        )
    gpus = [sample.telemetry.gpu for sample in samples if sample.telemetry is not None and sample.telemetry.gpu]
    slowed_by = dict.fromkeys(reason for gpu in gpus for reason in gpu.slowed_by)
    if slowed_by:
        hottest_c = most_of_known(gpu.temperature_c for gpu in gpus)
        heat = "" if hottest_c is None else f" at up to {hottest_c:.0f} degrees Celsius"
        return f"the GPU was slowed by {', '.join(slowed_by)}{heat}: what was measured is its cooling or its power"
    return None


def describe_failures(samples: Sequence[Sample]) -> str | None:
    """Count the answers that were wrong or failed and show the first of them; None if all were right."""
    failures = [failure for sample in samples for failure in sample.failures]
    if not failures:
        return None
    answers = sum(sample.answers for sample in samples)
    shown = "; ".join(dict.fromkeys(failures[:_FAILURES_SHOWN]))
    return f"{len(failures)} of {answers} answers were wrong or failed: {shown}"

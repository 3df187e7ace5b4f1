"""Whether what was measured can be judged at all."""

from collections.abc import Sequence

from servegate.judging.estimators import most_of_known
from servegate.records import Sample

_FAILURES_SHOWN = 3


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

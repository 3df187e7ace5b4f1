"""Compute how busy a Locust worker was from its reports. Doesn't import Locust, which replaces sockets and threads."""

from collections.abc import Sequence

REPORT_S = 0.25


def cpu_cores(samples: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """CPU-seconds a second of one worker between two moments, from (moment, CPU-seconds so far) every 0.25 s."""
    inside = [sample for sample in samples if begin_s - REPORT_S <= sample[0] <= end_s + REPORT_S]
    if len(inside) < 2:
        return 0.0
    (first_s, first_cpu_s), (last_s, last_cpu_s) = inside[0], inside[-1]
    return (last_cpu_s - first_cpu_s) / (last_s - first_s)

"""The values that telemetry reads from each measured process, besides its CPU time.

A new gauge is an entry here, which puts it into `Telemetry.gauges`, and an entry in `servegate.report.figures`, which
shows it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Gauge:
    """A level that each process has at a moment; the levels of all processes together are added up.

    Attributes
    ----------
    name:
        Its name, which ends with the unit.
    read:
        Reads it from one process; raises psutil.Error if it can't be read.
    over_time:
        Combines the sums at several moments into one figure.
    """

    name: str
    read: Callable[[psutil.Process], float]
    over_time: Callable[[Iterable[float]], float]


def over_time(levels: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Combine the levels of each gauge at several moments into one figure."""
    return {gauge.name: gauge.over_time(level[gauge.name] for level in levels) for gauge in GAUGES}


GAUGES = (
    # Resident memory. A page that several processes share counts for each of them.
    Gauge("memory_bytes", lambda process: process.memory_info().rss, max),
)

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
        With its unit.
    read:
        Asks one process; a psutil.Error says that it can't be asked.
    over_time:
        Makes one figure of the sums at several moments.
    """

    name: str
    read: Callable[[psutil.Process], float]
    over_time: Callable[[Iterable[float]], float]


def over_time(levels: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each gauge's levels at several moments as one figure."""
    return {gauge.name: gauge.over_time(level[gauge.name] for level in levels) for gauge in GAUGES}


GAUGES = (
    # Resident memory; pages that processes share count in each.
    Gauge("memory_bytes", lambda process: process.memory_info().rss, max),
)

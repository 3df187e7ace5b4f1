"""Measure the cells of a group in several fresh processes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from servegate.measure.targets import Conditions, MeasurementTarget
from servegate.records import Cell, Sample


@dataclass(frozen=True)
class GroupMeasurement:
    """A group's samples, one a process and cell, and what the processes said of themselves."""

    samples: Mapping[Cell, Sequence[Sample]]
    details: Mapping[str, str]


def measure_group(
    target: MeasurementTarget,
    cells: Sequence[Cell],
    conditions: Conditions,
    *,
    processes: int,
    seconds: float,
    progress: Callable[[str], None],
    watch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> GroupMeasurement:
    """Measure each cell in each of several fresh processes, in an order that rotates from process to process.

    Parameters
    ----------
    seconds:
        Measuring time of a cell in a process.
    progress:
        Called with a line of text whenever something new begins.
    watch:
        Makes a context that each measurement of a cell runs in.
    """
    samples: dict[Cell, list[Sample]] = {cell: [] for cell in cells}
    details: dict[str, str] = {}
    start_s = time.monotonic()
    for number in range(processes):
        here = f"{target.name}: process {number + 1} of {processes}"
        if number:
            left_s = (time.monotonic() - start_s) / number * (processes - number)
            here += f", {describe_duration(left_s)} left"
        progress(f"{here}: starts")
        with target.open(conditions) as instrument:
            details.update(instrument.details)
            first = number % len(cells)
            for cell in [*cells[first:], *cells[:first]]:
                progress(f"{here}: {cell}")
                with watch():
                    samples[cell].append(instrument.measure(cell, seconds))
    return GroupMeasurement(samples, details)


def describe_duration(seconds: float) -> str:
    """As in `40 s` or `3 min`, for a reader who waits."""
    return f"{math.ceil(seconds / 10) * 10} s" if seconds < 90 else f"{seconds / 60:.0f} min"

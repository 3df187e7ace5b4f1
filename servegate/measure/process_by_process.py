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
        progress(f"{here}{_describe_rest(start_s, number / processes)}: starts")
        with target.open(conditions) as instrument:
            details.update(instrument.details)
            first = number % len(cells)
            for place, cell in enumerate([*cells[first:], *cells[:first]]):
                rest = _describe_rest(start_s, (number + place / len(cells)) / processes) if number else ""
                progress(f"{here}{rest}: {cell}")
                with watch():
                    samples[cell].append(instrument.measure(cell, seconds))
    return GroupMeasurement(samples, details)


def _describe_rest(start_s: float, done: float) -> str:
    """The time that is left, estimated from the share that is done; empty while none is."""
    if not done:
        return ""
    return f", {describe_duration((time.monotonic() - start_s) * (1 - done) / done)} left"


def describe_duration(seconds: float) -> str:
    """As in `4 s`, `40 s` or `3 min`, for a reader who waits."""
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    step_s = 1 if seconds < 10 else 10
    return f"{math.ceil(seconds / step_s) * step_s} s"

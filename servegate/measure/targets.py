"""A group of cells that are measured together: what it must be able to start, and what that must be able to do.

`perf_tests/` defines the groups; `measure` measures their cells process by process, `versus` side by side.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from servegate.records import BurstRecord, Cell, Checkout, Sample


class Instrument(Protocol):
    """Measures cells in one fresh process that is ready."""

    @property
    def details(self) -> Mapping[str, str]:
        """What the process says of itself, as in {"precision": "bfloat16"}; recorded with the machine."""

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Measure one cell for about this long."""


class BurstLoad(Protocol):
    """A cell's load on one process; it stands still but for the bursts."""

    @property
    def shortest_burst_s(self) -> float:
        """Seconds that a burst lasts at least; 0 if it can end at any moment."""

    def burst(self, seconds: float) -> None:
        """Let it run for about this long."""

    def finish(self) -> BurstRecord:
        """End the load; once, after the last burst."""


class PausableTarget(Protocol):
    """A fresh process of an arm that is ready and stands still."""

    def start_load(self, cell: Cell) -> BurstLoad:
        """Warm the cell up."""


# Entering it starts a fresh process of a checkout without waiting for it, so that two can start at a time; what it
# gives waits until the process is ready; leaving it ends the process.
LaunchArm = Callable[[Checkout], AbstractContextManager[Callable[[], PausableTarget]]]


@dataclass(frozen=True)
class Group:
    """Cells that are measured together, process by process.

    Attributes
    ----------
    name:
        Of the cells' group.
    unit:
        What throughput counts, as in `images`.
    fresh_process:
        Starts one; its context ends the process.
    launch_arm:
        Starts a fresh process of a checkout; None if other checkouts can't be started.
    release:
        Ends what the group shares between its processes, before arms are started.
    """

    name: str
    unit: str
    fresh_process: Callable[[], AbstractContextManager[Instrument]]
    launch_arm: LaunchArm | None = None
    release: Callable[[], None] = lambda: None

"""The interfaces between what measures and what is measured.

A target is measured in one of two ways. Process by process, it opens an instrument on a fresh process of the working
tree. Side by side, it launches a fresh process of any checkout, which stands still except for bursts of load.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from servegate.judging.figures.kinds import FigureKind
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.processes.server import ServerProcess
from servegate.records import BurstRecord, Cell, Checkout, ProcessRecord, Sample


class Instrument(Protocol):
    """Measures cells in one fresh process that is ready."""

    @property
    def details(self) -> Mapping[str, str]:
        """The details that the process reports, as in {"precision": "bfloat16"}; recorded with the machine."""

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Measure one cell for about this long."""


class BurstLoad(Protocol):
    """A cell's load on one process, which is paused except in bursts and turns."""

    @property
    def shortest_burst_s(self) -> float:
        """Seconds that a burst lasts at least: one batch of a model alone, or see `Pausing`; 0 for any length."""

    @property
    def shortest_turn_s(self) -> float:
        """Seconds that a turn lasts at least; 0 for any length."""

    @property
    def takes_turns(self) -> bool:
        """Whether something in it may wait, so that turns show more than bursts."""

    def burst(self, seconds: float) -> None:
        """Let it run for about this long; afterwards the other arm's burst may begin."""

    def turn(self, seconds: float) -> None:
        """Load it for about this long and let it complete everything; after the last burst."""

    def finish(self) -> BurstRecord:
        """End the load; once, after the last burst or turn."""


class MeasuredRate(NamedTuple):
    """The rate of a cell whose load sets it.

    Attributes
    ----------
    per_s:
        The cell's share of the capacity.
    answers, failures:
        The answers while the capacity was measured, and what was wrong with those that failed: the rate then means
        nothing.
    """

    per_s: float
    answers: int
    failures: tuple[str, ...]


class PausableTarget(Protocol):
    """A fresh process of a checkout that is ready and stands still."""

    @property
    def details(self) -> Mapping[str, str]:
        """The details that the process reports, as in `Instrument`."""

    @property
    def is_python(self) -> bool:
        """Whether its command names the checkout's interpreter, so that it tells which files it loads."""

    @property
    def record(self) -> ProcessRecord:
        """The time that it took to start, and its memory after that."""

    def adapt_to(self, other: "PausableTarget") -> "PausableTarget":
        """Return it as it is loaded beside the other arm's process: in a way that both know."""

    def measure_rate(self, cell: Cell) -> "MeasuredRate | None":
        """Measure the rate at which the cell's load comes by itself; None where each answer has to be waited for."""

    def start_load(self, cell: Cell, rate_per_s: float | None = None) -> BurstLoad:
        """Warm the cell up, at the rate that was measured for it, if there is one."""


class LaunchedProcess(Protocol):
    """A process that was started and may not be ready yet, so that two can start at the same time."""

    def wait_until_ready(self) -> None:
        """Wait, and pause it. Another thread may end the process meanwhile."""

    def open(self, engine: LoadEngine, /) -> PausableTarget:
        """Make it ready to be measured, after it was waited for; the engine loads it where it doesn't load itself."""

    def ask_to_end(self) -> None:
        """Have it begin to end, so that two can end at the same time; its context waits for that."""


class SessionServers:
    """The servers that fixtures of the pytest session run, each handed out as if it were fresh.

    The first measurement that asks for a server gets it as the fixture started it; later ones get it started afresh.
    """

    def __init__(self) -> None:
        self._servers: dict[str, ServerProcess] = {}

    def fresh(self, fixture: str, get_fixture: Callable[[str], ServerProcess]) -> ServerProcess:
        """The server of a session-scoped fixture, which has measured nothing since it was started."""
        if fixture in self._servers:
            self._servers[fixture].start()
        else:
            self._servers[fixture] = get_fixture(fixture)
        return self._servers[fixture]

    def stop(self) -> None:
        """Stop them, so that others are measured without them."""
        for server in self._servers.values():
            server.stop()


@dataclass(frozen=True)
class Conditions:
    """The circumstances under which a target is measured process by process.

    Attributes
    ----------
    head:
        The working tree.
    warmup_s:
        Seconds of load before a cell is measured.
    engine:
        The program that makes a closed loop's load.
    deployed:
        The service to measure instead of a fresh process; None for that.
    session_server:
        Gives the server of a session-scoped fixture, see `SessionServers.fresh`.
    """

    head: Checkout
    warmup_s: float
    engine: LoadEngine
    deployed: Deployed | None
    session_server: Callable[[str], ServerProcess]


class Launchable(Protocol):
    """Something that can be put side by side with another checkout's."""

    def share(self, other: "Launchable") -> "Launchable | None":
        """Join it with a target that the same processes can be measured for; None where they can't."""

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start a fresh process of a checkout without waiting for it; the context ends it."""


class Comparable(Launchable, Protocol):
    """A group of cells that can be compared side by side."""

    @property
    def figures(self) -> Sequence[FigureKind]:
        """The figures that its processes show beside throughput, side by side."""

    @property
    def rate_is_given(self) -> bool:
        """Whether the load sets the throughput, so that its figures alone depend on the service."""


class MeasurementTarget(Comparable, Protocol):
    """Something whose cells are measured together: one group of cells."""

    @property
    def name(self) -> str:
        """The group's name, as `perf_cells` has it."""

    @property
    def parameter(self) -> str:
        """The name of the parameter that the cells' values have, as in `concurrency`."""

    @property
    def unit(self) -> str:
        """The thing that throughput counts, as in `requests`."""

    @property
    def ceiling(self) -> "MeasurementTarget | None":
        """The target whose best throughput bounds this one's; None where there is no such target."""

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""

    def open(self, conditions: Conditions) -> AbstractContextManager[Instrument]:
        """Start a fresh process of the working tree; the context ends it."""


def explain_no_number(value: int | str) -> str | None:
    """Explain why a value is no count; None if it is one."""
    return None if isinstance(value, int) else "must be a whole number above 0"

"""The targets that a project measures over HTTP: its service, and the requests that the client sends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from servegate.errors import SettingsError
from servegate.judging.figures.kinds import COST, GROWTH, LATENESS, MEMORY, OF_STREAMS, START, TAIL, FigureKind
from servegate.load.engines import LoadEngine
from servegate.load.workload import Requests
from servegate.measure.cell_load import CellLoad
from servegate.measure.http.instruments import DeployedInstrument, ServerInstrument
from servegate.measure.http.launched_server import launch_server
from servegate.measure.http.service import HttpService
from servegate.measure.targets import Conditions, Launchable, LaunchedProcess, MeasurementTarget, explain_no_number
from servegate.records import Cell, Checkout
from servegate.telemetry.missed_gpu import tell_missed_gpu


@dataclass(frozen=True)
class HttpTarget:
    """Throughput and latency of a service under closed-loop load; a cell's value is the concurrency.

    With several kinds of requests by name, a cell's value is the kind:

        HttpTarget("photo", service, {"phone": phone, "screenshot": screenshot}, concurrency=8)

    Attributes
    ----------
    name:
        The group's name, which `perf_cells` gives its values.
    service:
        How the service starts.
    workload:
        The requests and their right answers; with several kinds, by the kind's name.
    ceiling:
        A target whose best throughput bounds this one's, as the model alone bounds its API; the summary says which
        share of it was reached.
    unit:
        The unit in which requests are counted, as in `requests`.
    concurrency:
        The connections of a cell whose value is a kind.
    """

    name: str
    service: HttpService
    workload: Requests | Mapping[str, Requests]
    ceiling: MeasurementTarget | None = None
    unit: str = "requests"
    concurrency: int = 8
    rate_is_given: bool = field(default=False, init=False)

    @property
    def figures(self) -> Sequence[FigureKind]:
        """The figures that its processes show; a figure is of all cells."""
        has_streams = all(any(request.is_streamed for _, request in kind.parts) for kind in self.kinds)
        return TAIL, *(OF_STREAMS if has_streams else ()), COST, MEMORY, GROWTH, START

    @property
    def parameter(self) -> str:
        """The name of the parameter that the cells' values have."""
        return "kind" if isinstance(self.workload, Mapping) else "concurrency"

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""
        if isinstance(self.workload, Mapping):
            return None if value in self.workload else f"must be one of {', '.join(self.workload)}"
        return explain_no_number(value)

    def load_of(self, cell: Cell) -> CellLoad:
        """The load of a cell."""
        if isinstance(self.workload, Mapping):
            return CellLoad(self.workload[str(cell.value)], self.concurrency)
        return CellLoad(self.workload, int(cell.value))

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[ServerInstrument | DeployedInstrument]:
        """Load a fresh process of the service, or the one that runs elsewhere.

        Raises
        ------
        DeployedError
            When the service elsewhere doesn't answer a first request rightly; no load was sent.
        """
        deployed = conditions.deployed
        if deployed is None:
            with open_server_instrument(self, conditions, conditions.engine) as instrument:
                yield instrument
            return
        key_header = self.service.key_header
        for requests in self.kinds:
            deployed.check(deployed.with_key(requests, key_header))
        with conditions.engine.start() as clients:

            def load_of(cell: Cell) -> CellLoad:
                load = self.load_of(cell)
                return load._replace(requests=deployed.with_key(load.requests, key_header))

            yield DeployedInstrument(deployed, clients, load_of, conditions.warmup_s)

    @property
    def kinds(self) -> Sequence[Requests]:
        """All requests that are sent, in any of its cells."""
        return [*self.workload.values()] if isinstance(self.workload, Mapping) else [self.workload]

    def share(self, other: Launchable) -> "SharedServer | None":
        """Join it with another target of the same service."""
        return SharedServer((self,)).share(other)

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start the service of a checkout."""
        return SharedServer((self,)).launch(checkout)


@dataclass(frozen=True)
class OpenLoopTarget:
    """Latency of a service under requests that come at random times; a cell's value is the load in % of its capacity.

    Side by side, both checkouts get the same requests at the same times, and the load is in % of the base's capacity.

    Attributes
    ----------
    name, service, workload:
        As in `HttpTarget`.
    saturating_concurrency:
        Connections of the closed loop that measures the capacity just before; also the most that are open.
    """

    name: str
    service: HttpService
    workload: Requests
    saturating_concurrency: int = 64
    unit: str = "requests"
    parameter: str = field(default="load", init=False)
    ceiling: MeasurementTarget | None = field(default=None, init=False)
    rate_is_given: bool = field(default=True, init=False)
    figures: Sequence[FigureKind] = field(default=(LATENESS,), init=False)

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""
        return explain_no_number(value)

    @property
    def kinds(self) -> Sequence[Requests]:
        """All requests that are sent."""
        return [self.workload]

    def load_of(self, cell: Cell) -> CellLoad:
        """The load of a cell."""
        return CellLoad(self.workload, self.saturating_concurrency, percent_of_capacity=float(cell.value))

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[ServerInstrument]:
        """Load a fresh process of the service with the built-in client.

        Raises
        ------
        SettingsError
            Where a service that runs elsewhere is to be measured.
        """
        if conditions.deployed is not None:
            raise SettingsError(
                f"the group {self.name!r} loads a service to its limit, which is only done to a service that the run "
                "starts itself; leave it out of --perf-cells"
            )
        with open_server_instrument(self, conditions, conditions.engine.builtin) as instrument:
            yield instrument

    def share(self, other: Launchable) -> "SharedServer | None":
        """Join it with another target of the same service."""
        return SharedServer((self,)).share(other)

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start the service of a checkout."""
        return SharedServer((self,)).launch(checkout)


@dataclass(frozen=True)
class SharedServer:
    """A service whose fresh process is measured for several targets."""

    targets: tuple[HttpTarget | OpenLoopTarget, ...]

    def load_of(self, cell: Cell) -> CellLoad:
        """The load of a cell of any of the targets."""
        return next(target for target in self.targets if target.name == cell.group).load_of(cell)

    def share(self, other: Launchable) -> "SharedServer | None":
        """Join it with another target of the same service, so that one process a side is measured for all."""
        if isinstance(other, HttpTarget | OpenLoopTarget) and other.service == self.targets[0].service:
            return SharedServer((*self.targets, other))
        return None

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start the service of a checkout; the first target's first request ends the start."""
        _, first = self.targets[0].kinds[0].parts[0]
        return launch_server(self.targets[0].service, checkout, first, self.load_of)


@contextmanager
def open_server_instrument(
    target: HttpTarget | OpenLoopTarget, conditions: Conditions, engine: LoadEngine
) -> Iterator[ServerInstrument]:
    """Load clients on a fresh process of a target's service; they end with the context."""
    with target.service.fresh_server(conditions) as server, engine.start() as clients:
        details = tell_missed_gpu(target.service.describe(server.url))
        yield ServerInstrument(server, clients, target.load_of, conditions.warmup_s, details)

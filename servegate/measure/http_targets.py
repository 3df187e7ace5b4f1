"""The targets that a project measures over HTTP: its service, and the requests that the client sends."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from servegate.errors import ReferenceCheckoutError, SettingsError
from servegate.judging.figures.kinds import FIGURE_KINDS, FigureKind
from servegate.load.engines import LoadEngine
from servegate.load.workload import Requests
from servegate.measure.http_instruments import DeployedInstrument, OpenLoopInstrument, ServerInstrument
from servegate.measure.http_service import HttpService
from servegate.measure.launched_server import launch_server
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
    also:
        Other targets of the same service, which the same processes are measured for; see `share`.
    """

    name: str
    service: HttpService
    workload: Requests | Mapping[str, Requests]
    ceiling: MeasurementTarget | None = None
    unit: str = "requests"
    concurrency: int = 8
    also: tuple["HttpTarget", ...] = ()
    rate_is_given: bool = field(default=False, init=False)
    figures: Sequence[FigureKind] = field(default=FIGURE_KINDS, init=False)

    @property
    def parameter(self) -> str:
        """The name of the parameter that the cells' values have."""
        return "kind" if isinstance(self.workload, Mapping) else "concurrency"

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""
        if isinstance(self.workload, Mapping):
            return None if value in self.workload else f"must be one of {', '.join(self.workload)}"
        return explain_no_number(value)

    def load_of(self, cell: Cell) -> tuple[Requests, int]:
        """The requests of a cell, and the number of connections that send them."""
        target = next(target for target in (self, *self.also) if target.name == cell.group)
        if isinstance(target.workload, Mapping):
            return target.workload[str(cell.value)], target.concurrency
        return target.workload, int(cell.value)

    def share(self, other: Launchable) -> "HttpTarget | None":
        """Join it with another target of the same service, so that one process a side is measured for both."""
        if isinstance(other, HttpTarget) and other.service == self.service:
            return replace(self, also=(*self.also, other))
        return None

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

            def load_of(cell: Cell) -> tuple[Requests, int]:
                requests, concurrency = self.load_of(cell)
                return deployed.with_key(requests, key_header), concurrency

            yield DeployedInstrument(deployed, clients, load_of, conditions.warmup_s)

    @property
    def kinds(self) -> Sequence[Requests]:
        """All requests that are sent, in any of its cells."""
        return [*self.workload.values()] if isinstance(self.workload, Mapping) else [self.workload]

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Start the service of a checkout."""
        _, first = self.kinds[0].parts[0]
        return launch_server(self.service, checkout, first, self.load_of)


@dataclass(frozen=True)
class OpenLoopTarget:
    """Latency of a service under requests that come at random times; a cell's value is the load in % of its capacity.

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
    figures: Sequence[FigureKind] = field(default=(), init=False)

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""
        return explain_no_number(value)

    @property
    def kinds(self) -> Sequence[Requests]:
        """All requests that are sent."""
        return [self.workload]

    def load_of(self, _: Cell) -> tuple[Requests, int]:
        """The requests, and the most connections that send them."""
        return self.workload, self.saturating_concurrency

    def share(self, other: Launchable) -> None:
        """Share no process: an open loop isn't compared side by side."""

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[OpenLoopInstrument]:
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
            yield OpenLoopInstrument(instrument)

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Refuse: an open loop isn't measured in bursts."""
        raise ReferenceCheckoutError(f"the group {self.name!r} can't be compared side by side with {checkout.folder}")


@contextmanager
def open_server_instrument(
    target: HttpTarget | OpenLoopTarget, conditions: Conditions, engine: LoadEngine
) -> Iterator[ServerInstrument]:
    """Load clients on a fresh process of a target's service; they end with the context."""
    with target.service.fresh_server(conditions) as server, engine.start() as clients:
        details = tell_missed_gpu(target.service.describe(server.url))
        yield ServerInstrument(server, clients, target.load_of, conditions.warmup_s, details)

"""What a project measures over HTTP: its service, and the requests that are sent to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from servegate.errors import MeasurementError, ReferenceCheckoutError, SettingsError
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.bursts import PausableServer, open_pausable_server
from servegate.measure.code_path import fill_python, make_environment, names_python
from servegate.measure.http_instruments import DeployedInstrument, OpenLoopInstrument, ServerInstrument
from servegate.measure.missed_gpu import tell_missed_gpu
from servegate.measure.targets import Conditions, LaunchedProcess, MeasurementTarget
from servegate.processes.server import ServerProcess
from servegate.records import Checkout

# Of a cell's load on a checkout, before its first burst.
_WARMUP_BEFORE_BURSTS_S = 0.5


@dataclass(frozen=True)
class HttpService:
    """A service that listens on a port: how it starts, and how to talk to it.

        HttpService(["{python}", "-m", "service.server", "--port", "{port}"])
        HttpService(["{python}", "app.py"], environment={"PORT": "{port}"}, health_path="/ready")

    Attributes
    ----------
    command:
        Program and arguments, run in the checkout's folder. `{python}` stands for the interpreter of the checkout's
        environment. `{port}`, here or in a value of `environment`, stands for a free port; where it stands nowhere,
        `--host 127.0.0.1 --port PORT` is added.
    environment:
        Variables on top of pytest's own.
    health_path:
        A path that answers 200 when the service is ready.
    ready_deadline_s:
        Seconds from its start to that.
    key_header:
        The header for the key of a service that runs elsewhere (`--perf-server-url`).
    describe:
        Asks the running service, given its URL, what it is, as in {"server devices": "2"}. What it says is recorded
        with the machine and told where it differs from the baseline's, or between two checkouts side by side. A service
        that runs otherwise than it intended, as without its GPU, says why under a name that ends with `fallback`: then
        the verdict is INVALID. So it is where a name that ends with `device` has the value `cpu` on a machine with a
        GPU. The value `unknown` differs from none.
    session_fixture:
        A session-scoped fixture that yields the running service as a `ServerProcess`. The first measurement uses it, so
        that a session with other tests of the service starts it once less.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    health_path: str = "/health"
    ready_deadline_s: float = 60.0
    key_header: str = "X-API-Key"
    describe: Callable[[str], Mapping[str, str]] = lambda _: {}
    session_fixture: str | None = None

    def process(self, checkout: Checkout) -> ServerProcess:
        """The service of a checkout, not yet started; a context manager that starts and stops it."""
        return ServerProcess(
            fill_python(self.command, checkout),
            cwd=checkout.folder,
            env=make_environment(checkout, self.environment),
            health_path=self.health_path,
            ready_deadline_s=self.ready_deadline_s,
        )

    @contextmanager
    def fresh_server(self, conditions: Conditions) -> Iterator[ServerProcess]:
        """The working tree's service, ready, which has measured nothing yet."""
        if self.session_fixture is not None:
            yield conditions.session_server(self.session_fixture)
        else:
            with self.process(conditions.head) as server:
                yield server


@dataclass(frozen=True)
class HttpTarget:
    """Throughput and latency of a service under closed-loop load; a cell's value is the concurrency.

    Attributes
    ----------
    name:
        The group's name, which `perf_cells` gives its values.
    service:
        How the service starts.
    workload:
        What is sent, and the right answer.
    ceiling:
        A target whose best throughput bounds this one's, as the model alone bounds its API; the summary says which
        share of it was reached.
    unit:
        What one request counts as.
    """

    name: str
    service: HttpService
    workload: Workload
    ceiling: MeasurementTarget | None = None
    unit: str = "requests"
    parameter: str = field(default="concurrency", init=False)
    rate_is_given: bool = field(default=False, init=False)

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[ServerInstrument | DeployedInstrument]:
        """Load a fresh process of the service, or the one that runs elsewhere.

        Raises
        ------
        DeployedError
            When the service elsewhere doesn't answer a first request rightly; no load was sent.
        """
        if conditions.deployed is None:
            with open_server_instrument(self, conditions, conditions.engine) as instrument:
                yield instrument
            return
        workload = conditions.deployed.with_key(self.workload, self.service.key_header)
        conditions.deployed.check(workload)
        with conditions.engine.start() as client:
            yield DeployedInstrument(conditions.deployed, client, workload, conditions.warmup_s)

    @contextmanager
    def launch(self, checkout: Checkout) -> Iterator[LaunchedProcess]:
        """Start the service of a checkout."""
        with ExitStack() as parts:
            server = self.service.process(checkout)
            parts.callback(server.stop)
            server.launch()
            yield _LaunchedServer(self, checkout, server, parts)


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
    workload: Workload
    saturating_concurrency: int = 64
    unit: str = "requests"
    parameter: str = field(default="load", init=False)
    ceiling: MeasurementTarget | None = field(default=None, init=False)
    rate_is_given: bool = field(default=True, init=False)

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
        with open_server_instrument(self, conditions, LoadEngine()) as instrument:
            yield OpenLoopInstrument(instrument, self.saturating_concurrency)

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Refuse: an open loop isn't measured in bursts."""
        raise ReferenceCheckoutError(f"the group {self.name!r} can't be compared side by side with {checkout.folder}")


@contextmanager
def open_server_instrument(
    target: HttpTarget | OpenLoopTarget, conditions: Conditions, engine: LoadEngine
) -> Iterator[ServerInstrument]:
    """A load client on a fresh process of a target's service; the client ends with the context."""
    with target.service.fresh_server(conditions) as server, engine.start() as client:
        details = tell_missed_gpu(target.service.describe(server.url))
        yield ServerInstrument(server, client, target.workload, conditions.warmup_s, details)


@dataclass(frozen=True)
class _LaunchedServer:
    target: HttpTarget
    checkout: Checkout
    server: ServerProcess
    parts: ExitStack

    def wait_until_ready(self) -> PausableServer:
        """Wait, ask the server what it is, pause it and start a client for it."""
        self.server.wait_until_ready()
        details = self._describe()
        opened = open_pausable_server(self.server, self.target.workload, _WARMUP_BEFORE_BURSTS_S)
        return replace(
            self.parts.enter_context(opened), details=details, is_python=names_python(self.target.service.command)
        )

    def _describe(self) -> Mapping[str, str]:
        try:
            details = self.target.service.describe(self.server.url)
        except Exception as error:
            # The question is the working tree's. An older commit may know no answer, and isn't wrong for that.
            if self.checkout.name != "base":
                raise MeasurementError(f"`describe` of the group {self.target.name!r} failed: {error!r}") from error
            return {}
        return tell_missed_gpu(details)

"""A group of cells that load a whole server; a project says how its server starts, and what is sent to it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.bursts import PausableServer, open_pausable_server
from servegate.measure.process_by_process import ApiInstrument, open_api_instrument, open_deployed_instrument
from servegate.measure.targets import Group
from servegate.processes.managed import ServerProcess
from servegate.records import Checkout
from servegate.session.settings import GateSettings

# Of a cell's load on an arm, before its first burst.
_ARM_WARMUP_S = 0.5

# The server of a checkout, not yet started.
MakeServer = Callable[[Checkout], ServerProcess]


class FreshServers:
    """The session's server for the first measurement that asks, then fresh ones in its place.

    A comparison side by side starts servers of its own, so the session's is asked for only when it is measured.

    Parameters
    ----------
    session_server:
        Gives the session's server, running.
    workload:
        What is sent.
    warmup_s:
        Seconds of load before a cell is measured.
    details_of:
        What a running server says of itself, recorded with the machine.
    """

    def __init__(
        self,
        session_server: Callable[[], ServerProcess],
        workload: Workload,
        warmup_s: float,
        details_of: Callable[[ServerProcess], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.workload = workload
        self.warmup_s = warmup_s
        self._session_server = session_server
        self._details_of = details_of
        self._server: ServerProcess | None = None

    @contextmanager
    def instrument(self, engine: LoadEngine) -> Iterator[ApiInstrument]:
        """A server that has measured nothing before, and what loads it."""
        if self._server is None:
            self._server = self._session_server()
        else:
            self._server.start()
        details = self._details_of(self._server)
        with open_api_instrument(self._server, self.workload, self.warmup_s, details, engine) as instrument:
            yield instrument

    def release(self) -> None:
        """Stop it: others are measured without it."""
        if self._server is not None:
            self._server.stop()


def server_group(servers: FreshServers, make_server: MakeServer, settings: GateSettings) -> Group:
    """The group `api`: closed-loop load, a cell's value is the concurrency.

    Where the command line names a service that runs elsewhere, that one is measured.
    """
    if settings.deployed is not None:
        deployed = partial(
            open_deployed_instrument, settings.deployed, servers.workload, servers.warmup_s, settings.engine
        )
        return Group("api", "requests", deployed)
    launch = partial(launch_server_arm, make_server, servers.workload)
    return Group("api", "requests", partial(servers.instrument, settings.engine), launch, servers.release)


@contextmanager
def launch_server_arm(
    make_server: MakeServer, workload: Workload, arm: Checkout
) -> Iterator[Callable[[], PausableServer]]:
    """Start the server of a checkout; what this gives waits until it is ready to take turns with another."""
    with ExitStack() as parts:
        server = make_server(arm)
        parts.callback(server.stop)
        server.launch()

        def wait_until_ready() -> PausableServer:
            server.wait_until_ready()
            return parts.enter_context(open_pausable_server(server, workload, _ARM_WARMUP_S))

        yield wait_until_ready

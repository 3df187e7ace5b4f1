"""A service that listens on a port: the command that starts it, and how it says that it is ready."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from servegate.measure.code_path import fill_python, make_environment
from servegate.measure.targets import Conditions
from servegate.processes.server import ServerProcess
from servegate.records import Checkout


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
        the verdict is INVALID. It is also INVALID where a name that ends with `device` has the value `cpu` on a machine
        with a GPU. Side by side, a service on another device than `cpu` gets bursts of 1 s at least, and one that names
        no device gets them on a machine with a GPU. The value `unknown` differs from none.
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

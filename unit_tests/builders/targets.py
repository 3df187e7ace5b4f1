"""Targets that measure nothing real: tests say what they do when they are opened or launched."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from servegate.errors import ReferenceCheckoutError
from servegate.judging.figures.kinds import FigureKind
from servegate.load.engines import LoadEngine
from servegate.measure.targets import Conditions, Launchable, LaunchedProcess
from servegate.processes.server import ServerProcess
from servegate.records import Checkout


def no_session_server(fixture: str) -> ServerProcess:
    """Fail: the test needs no server of the session."""
    raise AssertionError(f"nothing should ask for the fixture {fixture!r}")


def make_conditions(warmup_s: float = 0.1, engine: LoadEngine = LoadEngine()) -> Conditions:  # noqa: B008  (frozen)
    """Those of an ordinary run here, without a server of the session."""
    return Conditions(Checkout.working_tree(Path.cwd()), warmup_s, engine, None, no_session_server)


class FakeTarget:
    """The facts of a target; a test's own class adds how it is opened."""

    parameter = "concurrency"
    unit = "requests"
    ceiling = None
    rate_is_given = False
    figures: Sequence[FigureKind] = ()

    def __init__(self, name: str = "api") -> None:
        self.name = name

    def share(self, other: Launchable) -> None:
        """Share no process: each target has its own."""

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Accept every value."""

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Refuse, unless a test's own class does it."""
        raise ReferenceCheckoutError(f"{self.name} can't be started in {checkout.folder}")

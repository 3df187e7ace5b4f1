"""What makes the load of a closed loop: the built-in client, or Locust on as many machines as it is given."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from servegate.errors import SettingsError
from servegate.processes.managed import ManagedProcess


@dataclass(frozen=True)
class LoadEngine:
    """Which program takes jobs on its stdin, see `servegate.load.client`.

    Attributes
    ----------
    workers, remote_workers, bind:
        Of Locust: workers that are started here, workers that others start, and HOST:PORT where all of them find the
        master; empty for a free port of 127.0.0.1.
    """

    name: Literal["builtin", "locust"] = "builtin"
    workers: int = 0
    remote_workers: int = 0
    bind: str = ""

    def require(self) -> None:
        """Check that it can be started.

        Raises
        ------
        SettingsError
            When it can't.
        """
        if self.name == "builtin":
            return
        if find_spec("locust") is None:
            raise SettingsError("--perf-load-engine=locust needs Locust: pip install 'servegate[locust]'")
        if self.workers + self.remote_workers < 1:
            raise SettingsError("--perf-load-engine=locust needs a worker: --perf-locust-workers=1")
        if self.remote_workers and not self.bind:
            raise SettingsError("--perf-locust-remote-workers need to know where: --perf-locust-bind=0.0.0.0:5557")

    def start(self) -> ManagedProcess:
        """The running program."""
        command = [sys.executable, "-m", "servegate.load.client"]
        if self.name == "locust":
            command = [sys.executable, "-m", "servegate.load.locust_master", f"--workers={self.workers}"]
            command += [f"--remote-workers={self.remote_workers}", f"--bind={self.bind}"]
        return ManagedProcess(command, cwd=Path.cwd(), env={}, name="the load client", pipes=True)

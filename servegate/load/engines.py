"""The program that makes the load of a closed loop: the built-in client, or Locust on one or several machines."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from loky import cpu_count

from servegate.errors import SettingsError
from servegate.load.client_processes import ClientProcesses
from servegate.processes.managed import ManagedProcess

# By default there is one client process for each so many connections and cores, since the service needs most cores.
_CONNECTIONS_A_PROCESS, _CORES_A_PROCESS = 4, 4
# At 0.2 core-ms a request one process is at its limit near 4,500 requests a second; eight make more than a service
# behind Python's HTTP servers answers.
_MOST_CHOSEN = 8
# More connections than any cell has: as many processes are started as one could need.
_ANY_CONCURRENCY = sys.maxsize


@dataclass(frozen=True)
class LoadEngine:
    """The program that takes jobs on its stdin; see `servegate.load.client`.

    Attributes
    ----------
    name:
        `builtin` or `locust`.
    workers, remote_workers, bind:
        For Locust: workers that are started here, workers that others start, and the HOST:PORT where all of them find
        the master, which is empty for a free port of 127.0.0.1.
    processes:
        For the built-in client: processes that share the connections of a cell; None to choose by connections and
        usable cores.
    """

    name: Literal["builtin", "locust"] = "builtin"
    workers: int = 0
    remote_workers: int = 0
    bind: str = ""
    processes: int | None = None

    @property
    def builtin(self) -> "LoadEngine":
        """The built-in client with the same number of processes, for loads that only it can make."""
        return LoadEngine(processes=self.processes)

    @property
    def description(self) -> str:
        """A description of the processes that make a load, for the baseline."""
        if self.name == "locust":
            return f"Locust, {self.workers} here, {self.remote_workers} elsewhere"
        most = self.processes_for(_ANY_CONCURRENCY)
        return str(most) if self.processes is not None or most == 1 else f"by concurrency, at most {most}"

    def require(self) -> None:
        """Check that the program can be started.

        Raises
        ------
        SettingsError
            If it can't.
        """
        if self.name == "builtin":
            return
        if find_spec("locust") is None:
            raise SettingsError("--perf-load-engine=locust needs Locust: pip install 'servegate[locust]'")
        if self.workers + self.remote_workers < 1:
            raise SettingsError("--perf-load-engine=locust needs a worker: --perf-locust-workers=1")
        if self.remote_workers and not self.bind:
            raise SettingsError("--perf-locust-remote-workers need to know where: --perf-locust-bind=0.0.0.0:5557")

    @contextmanager
    def start(self) -> Iterator[ClientProcesses]:
        """Start the program, in one process or several; the context ends them."""
        command = [sys.executable, "-m", "servegate.load.client"]
        if self.name == "locust":
            command = [sys.executable, "-m", "servegate.load.locust_master", f"--workers={self.workers}"]
            command += [f"--remote-workers={self.remote_workers}", f"--bind={self.bind}"]
        count = self.processes_for(_ANY_CONCURRENCY)
        with ExitStack() as running:
            processes = []
            for number in range(1, count + 1):
                name = "the load client" if count == 1 else f"load client {number} of {count}"
                process = ManagedProcess(command, cwd=Path.cwd(), env={}, name=name, pipes=True)
                processes.append(running.enter_context(process))
            yield ClientProcesses(processes, self.processes_for)

    def processes_for(self, concurrency: int) -> int:
        """Return how many processes share so many connections; Locust counts as one, however many workers it has."""
        if self.name == "locust":
            return 1
        if self.processes is not None:
            return self.processes
        cores: int = cpu_count()
        return max(1, min(_MOST_CHOSEN, cores // _CORES_A_PROCESS, concurrency // _CONNECTIONS_A_PROCESS))

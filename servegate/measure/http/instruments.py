"""Instruments that load a server from client processes of their own and check every answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from servegate.load.client import LoadJob
from servegate.load.client_processes import ClientProcesses
from servegate.load.deployed import Deployed
from servegate.measure.cell_load import LoadOf
from servegate.measure.samples import build_sample
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Sample
from servegate.telemetry.process_tree import observe
from servegate.telemetry.sampler import TelemetrySampler


@dataclass(frozen=True)
class ServerInstrument:
    """Load on a running server.

    In a cell that loads it in an open loop, a closed loop first measures its capacity.
    """

    server: ServerProcess
    clients: ClientProcesses
    load_of: LoadOf
    warmup_s: float
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Send load from client processes of its own and check every answer.

        In an open loop the throughput is that of the load, and not the capacity.
        """
        percent = self.load_of(cell).percent_of_capacity
        closed = self._load(cell, seconds)
        if percent is None or closed.failures:
            return closed
        return self._load(cell, seconds, rate_per_s=percent / 100 * closed.mean_throughput_per_s)

    def _load(self, cell: Cell, seconds: float, *, rate_per_s: float | None = None) -> Sample:
        load = self.load_of(cell)
        job = LoadJob(self.server.url, load.requests, load.connections, self.warmup_s, seconds, rate_per_s)
        self.clients.measure(job)
        with observe(self.server.process.pid) as observed, TelemetrySampler(observed) as telemetry:
            result = self.clients.read_result(job)
        self.server.process.check_healthy(f"while {cell} was measured")
        return build_sample(cell, result, telemetry.record)


@dataclass(frozen=True)
class DeployedInstrument:
    """Closed-loop load on a service that runs elsewhere."""

    deployed: Deployed
    clients: ClientProcesses
    load_of: LoadOf
    warmup_s: float

    @property
    def details(self) -> Mapping[str, str]:
        """No details, because a service that runs elsewhere is not asked for any."""
        return {}

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Measure as `ServerInstrument` does, but without the CPU time and memory of the service."""
        ca_file = str(self.deployed.ca_file) if self.deployed.ca_file else None
        load = self.load_of(cell)
        job = LoadJob(self.deployed.url, load.requests, load.connections, self.warmup_s, seconds, ca_file=ca_file)
        self.clients.measure(job)
        return build_sample(cell, self.clients.read_result(job), None)

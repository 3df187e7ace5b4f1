"""Instruments that load a server from client processes of their own and check every answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from servegate.load.client import LoadJob
from servegate.load.client_processes import ClientProcesses
from servegate.load.deployed import Deployed
from servegate.measure.bursts import LoadOf
from servegate.measure.samples import build_sample
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Sample
from servegate.telemetry.process_tree import observe
from servegate.telemetry.sampler import TelemetrySampler


@dataclass(frozen=True)
class ServerInstrument:
    """Closed-loop load on a running server."""

    server: ServerProcess
    clients: ClientProcesses
    load_of: LoadOf
    warmup_s: float
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Send load from client processes of its own and check every answer."""
        return self.load(cell, seconds)

    def load(self, cell: Cell, seconds: float, *, rate_per_s: float | None = None) -> Sample:
        """Measure a cell; with a rate of requests per second, in an open loop; see `LoadJob`."""
        requests, concurrency = self.load_of(cell)
        job = LoadJob(self.server.url, requests, concurrency, self.warmup_s, seconds, rate_per_s)
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
        requests, concurrency = self.load_of(cell)
        job = LoadJob(self.deployed.url, requests, concurrency, self.warmup_s, seconds, ca_file=ca_file)
        self.clients.measure(job)
        return build_sample(cell, self.clients.read_result(job), None)


@dataclass(frozen=True)
class OpenLoopInstrument:
    """Open-loop load on a running server; a cell's value is the load in percent of the server's capacity.

    A closed loop first measures the capacity, with as many connections as the open loop may have at most.
    """

    server: ServerInstrument

    @property
    def details(self) -> Mapping[str, str]:
        """The details that the server reports."""
        return self.server.details

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Measure the latency at that load; its throughput is that of the load, not the capacity."""
        capacity = self.server.load(cell, seconds)
        if capacity.failures:
            return capacity
        rate_per_s = float(cell.value) / 100 * capacity.mean_throughput_per_s
        return self.server.load(cell, seconds, rate_per_s=rate_per_s)

"""Measure the cells of a group in several fresh processes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from servegate.errors import MeasurementError
from servegate.load.client import LoadJob
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.load.results import LoadResult, parse_result
from servegate.load.workload import Workload
from servegate.measure.targets import Group
from servegate.processes.managed import ManagedProcess, ServerProcess
from servegate.records import Cell, Latency, Sample, Telemetry
from servegate.telemetry.process_tree import observe
from servegate.telemetry.sampler import TelemetrySampler

# For the client to start and to end, on top of its load.
_CLIENT_DEADLINE_S = 60.0


@dataclass(frozen=True)
class GroupMeasurement:
    """A group's samples, one a process and cell, and what the processes said of themselves."""

    samples: Mapping[Cell, Sequence[Sample]]
    details: Mapping[str, str]


def measure_group(
    group: Group, cells: Sequence[Cell], *, processes: int, seconds: float, progress: Callable[[str], None]
) -> GroupMeasurement:
    """Measure each cell in each of several fresh processes, in an order that rotates from process to process.

    Parameters
    ----------
    seconds:
        Measuring time of a cell in a process.
    progress:
        Called with a line of text whenever something new begins.
    """
    samples: dict[Cell, list[Sample]] = {cell: [] for cell in cells}
    details: dict[str, str] = {}
    start_s = time.monotonic()
    for number in range(processes):
        here = f"{group.name}: process {number + 1} of {processes}"
        if number:
            left_s = (time.monotonic() - start_s) / number * (processes - number)
            here += f", {describe_duration(left_s)} left"
        progress(f"{here}: starts")
        with group.fresh_process() as instrument:
            details.update(instrument.details)
            first = number % len(cells)
            for cell in [*cells[first:], *cells[:first]]:
                progress(f"{here}: {cell}")
                samples[cell].append(instrument.measure(cell, seconds))
    return GroupMeasurement(samples, details)


@dataclass(frozen=True)
class ApiInstrument:
    """Closed-loop load on a running server; a cell's value is the concurrency."""

    server: ServerProcess
    client: ManagedProcess
    workload: Workload
    warmup_s: float
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Send load from a client process of its own and check every answer."""
        return self.load(cell, seconds, connections=cell.value)

    def load(self, cell: Cell, seconds: float, *, connections: int, rate_per_s: float | None = None) -> Sample:
        """As `measure`, in an open loop where there is a rate of requests a second; see `LoadJob`."""
        job = LoadJob(self.server.url, self.workload, connections, self.warmup_s, seconds, rate_per_s)
        deadline_s = job.longest_s + _CLIENT_DEADLINE_S
        self.client.exchange(job.to_json(), deadline_s)
        with observe(self.server.process.pid) as observed, TelemetrySampler(observed) as telemetry:
            result = parse_result(self.client.read_line(deadline_s))
        self.server.process.check_healthy(f"while {cell} was measured")
        return build_sample(cell, result, telemetry.record)


@dataclass(frozen=True)
class DeployedInstrument:
    """Closed-loop load on a service that runs elsewhere; a cell's value is the concurrency."""

    deployed: Deployed
    client: ManagedProcess
    workload: Workload
    warmup_s: float

    @property
    def details(self) -> Mapping[str, str]:
        """Nothing: it is not asked what it is."""
        return {}

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """As `ApiInstrument.measure`; what it costs there nobody here can see."""
        ca_file = str(self.deployed.ca_file) if self.deployed.ca_file else None
        workload = self.deployed.with_key(self.workload)
        job = LoadJob(self.deployed.url, workload, cell.value, self.warmup_s, seconds, ca_file=ca_file)
        deadline_s = job.longest_s + _CLIENT_DEADLINE_S
        self.client.exchange(job.to_json(), deadline_s)
        return build_sample(cell, parse_result(self.client.read_line(deadline_s)), None)


def build_sample(cell: Cell, result: LoadResult, telemetry: Telemetry | None) -> Sample:
    """What a load and the telemetry beside it come to.

    Raises
    ------
    MeasurementError
        When there is no figure in it.
    """
    if not result.rounds_s and not result.failures:
        raise MeasurementError(
            f"{cell}: {len(result.latencies_ms)} answers were too few to measure; "
            "the server is far too slow, or --perf-seconds too short"
        )
    return Sample(
        rounds_s=tuple(result.rounds_s),
        units_per_round=result.requests_per_round,
        latency=summarise_latency(result.latencies_ms),
        answers=len(result.latencies_ms) + len(result.failures),
        failures=tuple(result.failures),
        telemetry=telemetry,
        client_cpu_cores=result.client_cpu_cores,
        stages=result.stages,
    )


@dataclass(frozen=True)
class OpenLoopInstrument:
    """Open-loop load on a running server; a cell's value is the load in percent of what the server can do.

    Attributes
    ----------
    saturating:
        Connections of the closed loop that finds out what it can do, just before; also the most in the open loop.
    """

    api: ApiInstrument
    saturating: int

    @property
    def details(self) -> Mapping[str, str]:
        """What the server says of itself."""
        return self.api.details

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Latency at that load; its throughput is the load's, not the server's."""
        capacity = self.api.load(cell, seconds, connections=self.saturating)
        if capacity.failures:
            return capacity
        rate_per_s = cell.value / 100 * capacity.mean_throughput_per_s
        return self.api.load(cell, seconds, connections=self.saturating, rate_per_s=rate_per_s)


@contextmanager
def open_api_instrument(
    server: ServerProcess,
    workload: Workload,
    warmup_s: float,
    details: Mapping[str, str],
    engine: LoadEngine = LoadEngine(),  # noqa: B008  (frozen)
) -> Iterator[ApiInstrument]:
    """Start the load client for a running server; it ends with the context."""
    with engine.start() as client:
        yield ApiInstrument(server, client, workload, warmup_s, details)


@contextmanager
def open_deployed_instrument(
    deployed: Deployed, workload: Workload, warmup_s: float, engine: LoadEngine
) -> Iterator[DeployedInstrument]:
    """Send one request to see whether the service is there and lets us in, then start the load client.

    Raises
    ------
    DeployedError
        When it doesn't answer rightly; no load was sent.
    """
    deployed.check(workload)
    with engine.start() as client:
        yield DeployedInstrument(deployed, client, workload, warmup_s)


def describe_duration(seconds: float) -> str:
    """As in `40 s` or `3 min`, for a reader who waits."""
    return f"{math.ceil(seconds / 10) * 10} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def summarise_latency(latencies_ms: Sequence[float]) -> Latency:
    """Mean and percentiles; NaN without any."""
    if not latencies_ms:
        return Latency(*[float("nan")] * 4)
    p50_ms, p95_ms, p99_ms = np.percentile(latencies_ms, [50, 95, 99])
    return Latency(float(np.mean(latencies_ms)), float(p50_ms), float(p95_ms), float(p99_ms))

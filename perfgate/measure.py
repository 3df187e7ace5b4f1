"""Measure the cells of a group in several fresh processes."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from perfgate.errors import MeasurementError
from perfgate.load import LoadJob, parse_result
from perfgate.processes import ManagedProcess, ServerProcess
from perfgate.records import Arm, Cell, Latency, Sample
from perfgate.telemetry import TelemetrySampler
from perfgate.workload import Workload

# For the client to start and to end, on top of its load.
_CLIENT_DEADLINE_S = 60.0


class Instrument(Protocol):
    """Measures cells in one fresh process that is ready."""

    @property
    def details(self) -> Mapping[str, str]:
        """What the process says of itself, as in {"precision": "bfloat16"}; recorded with the machine."""

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Measure one cell for about this long."""


class PausableInstrument(Instrument, Protocol):
    """An instrument whose process can be kept from disturbing another's measurement."""

    def pause(self) -> None:
        """Stop the process where it stands."""

    def resume(self) -> None:
        """Let it go on."""


OpenArm = Callable[[Arm], AbstractContextManager[PausableInstrument]]


@dataclass(frozen=True)
class Group:
    """Cells that are measured together, process by process.

    Attributes
    ----------
    name:
        Of the cells' group.
    unit:
        What throughput counts, as in `images`.
    fresh_process:
        Starts one; its context ends the process.
    open_arm:
        Starts a fresh process of a checkout; None if other checkouts can't be started.
    release:
        Ends what the group shares between its processes, before arms are started.
    """

    name: str
    unit: str
    fresh_process: Callable[[], AbstractContextManager[Instrument]]
    open_arm: OpenArm | None = None
    release: Callable[[], None] = lambda: None


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
    for number in range(processes):
        progress(f"{group.name}: process {number + 1} of {processes} starts")
        with group.fresh_process() as instrument:
            details.update(instrument.details)
            first = number % len(cells)
            for cell in [*cells[first:], *cells[:first]]:
                progress(f"{group.name}: process {number + 1} of {processes}, {cell}")
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
        with TelemetrySampler(self.server.process.pid) as telemetry:
            result = parse_result(self.client.read_line(deadline_s))
        if self.server.process.returncode is not None:
            raise self.server.process.error(f"died while {cell} was measured")
        if not result.rounds_s and not result.failures:
            raise MeasurementError(
                f"{cell}: {len(result.latencies_ms)} answers were too few to measure; "
                "the server is far too slow, or --perf-seconds (side by side: --perf-burst-seconds) too short"
            )
        return Sample(
            rounds_s=tuple(result.rounds_s),
            units_per_round=result.requests_per_round,
            latency=summarise_latency(result.latencies_ms),
            answers=len(result.latencies_ms) + len(result.failures),
            failures=tuple(result.failures),
            telemetry=telemetry.record,
            client_cpu_cores=result.client_cpu_cores,
        )

    def pause(self) -> None:
        """An idle LitServe polls its queue: it is stopped where it stands."""
        self.server.process.pause()

    def resume(self) -> None:
        """Let the server go on."""
        self.server.process.resume()


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
    server: ServerProcess, workload: Workload, warmup_s: float, details: Mapping[str, str]
) -> Iterator[ApiInstrument]:
    """Start the load client for a running server; it ends with the context."""
    command = [sys.executable, "-m", "perfgate.load"]
    with ManagedProcess(command, cwd=Path.cwd(), env={}, name="the load client", pipes=True) as client:
        yield ApiInstrument(server, client, workload, warmup_s, details)


def summarise_latency(latencies_ms: Sequence[float]) -> Latency:
    """Mean and percentiles; NaN without any."""
    if not latencies_ms:
        return Latency(*[float("nan")] * 4)
    p50_ms, p95_ms, p99_ms = np.percentile(latencies_ms, [50, 95, 99])
    return Latency(float(np.mean(latencies_ms)), float(p50_ms), float(p95_ms), float(p99_ms))

"""Load in bursts on a process that stands still between them: how an arm is measured while it takes turns with another.

A server under load is stopped where it stands (SIGSTOP) with its requests in flight, and goes on with them in its next
burst: no burst has a ramp or a tail, however short it is, and an idle server's polling can't disturb the other arm.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from perfgate.group import BurstRecord
from perfgate.load import LoadJob, SteadyResult, parse_steady_result
from perfgate.measure import load_client, summarise_latency
from perfgate.processes import ManagedProcess, ServerProcess
from perfgate.records import Cell, Sample, Telemetry
from perfgate.telemetry import TelemetrySampler, combine
from perfgate.workload import Workload

# For the client to warm up, to hand over its figures and to end, on top of its load.
_CLIENT_DEADLINE_S = 120.0


@dataclass(frozen=True)
class ApiContender:
    """A server that is loaded by a client of its own; a cell's value is the concurrency."""

    server: ServerProcess
    client: ManagedProcess
    workload: Workload
    warmup_s: float
    details: Mapping[str, str]

    def start_load(self, cell: Cell) -> "ApiBurstLoad":
        """Open the cell's connections and warm up."""
        self.server.process.resume()
        job = LoadJob(self.server.url, self.workload, cell.value, self.warmup_s, measure_s=None)
        ready = json.loads(self.client.exchange(job.to_json(), job.longest_s + _CLIENT_DEADLINE_S))
        self.server.process.pause()
        return ApiBurstLoad(self.server, self.client, cell, ready["rate_per_s"])


@contextmanager
def open_api_contender(
    server: ServerProcess, workload: Workload, warmup_s: float, details: Mapping[str, str]
) -> Iterator[ApiContender]:
    """Stop a running server where it stands and start a client for it; the client ends with the context."""
    server.process.pause()
    with load_client() as client:
        yield ApiContender(server, client, workload, warmup_s, details)


class ApiBurstLoad:
    """Connections that stay open and loaded from burst to burst."""

    def __init__(self, server: ServerProcess, client: ManagedProcess, cell: Cell, rate_per_s: float) -> None:
        self._server = server
        self._client = client
        self._cell = cell
        # A batching server answers up to all connections at once.
        self.shortest_burst_s = cell.value / rate_per_s if rate_per_s else 0.0
        self._began_s: list[float] = []
        self._ended_s: list[float] = []
        self._telemetry: list[Telemetry] = []

    def burst(self, seconds: float) -> None:
        """Let the server go on where it stood."""
        # The sampler's own work falls before and after the burst.
        with TelemetrySampler(self._server.process.pid) as telemetry:
            self._began_s.append(time.monotonic())
            self._server.process.resume()
            time.sleep(seconds)
            self._server.process.pause()
            self._ended_s.append(time.monotonic())
        self._telemetry.append(telemetry.record)
        if self._server.process.returncode is not None:
            raise self._server.process.error(f"died while {self._cell} was measured")

    def finish(self) -> BurstRecord:
        """Have the requests in flight answered, and read what the client saw."""
        end_s = time.monotonic()
        self._server.process.resume()
        result = parse_steady_result(self._client.exchange("stop", _CLIENT_DEADLINE_S))
        self._server.process.pause()
        return self._record(result, end_s)

    def _record(self, result: SteadyResult, end_s: float) -> BurstRecord:
        began_s = np.asarray(self._began_s)
        seconds = np.asarray(self._ended_s) - began_s
        completed_s, took_s = np.asarray(result.completions).reshape(-1, 2).T
        # What was answered just before the server stopped is read a moment later: it belongs to the burst before.
        burst = np.searchsorted(began_s, completed_s) - 1
        counted = (burst >= 0) & (completed_s < end_s)
        units = np.bincount(burst[counted], minlength=len(began_s))
        running_s = np.concatenate([[0.0], np.cumsum(seconds)])

        def while_running(moment_s: np.ndarray) -> np.ndarray:
            """How long the server had run in bursts until then."""
            edges = np.column_stack([self._began_s, self._ended_s]).ravel()
            return np.interp(moment_s, edges, np.column_stack([running_s[:-1], running_s[1:]]).ravel())

        latencies_s = while_running(completed_s[counted]) - while_running((completed_s - took_s)[counted])
        return burst_record(
            units.tolist(),
            seconds.tolist(),
            units_per_round=self._cell.value,
            latencies_ms=(latencies_s * 1e3).tolist(),
            failures=result.failures,
            telemetry=self._telemetry,
            client_cpu_cores=result.client_cpu_s / float(running_s[-1]),
        )


def burst_record(
    units: Sequence[int],
    seconds: Sequence[float],
    *,
    units_per_round: int,
    latencies_ms: Sequence[float],
    failures: Sequence[str] = (),
    telemetry: Sequence[Telemetry],
    client_cpu_cores: float | None = None,
) -> BurstRecord:
    """A record whose sample has a round for each burst: the time that it took for `units_per_round`.

    A burst in which nothing completed adds its time to the next one's.
    """
    rounds_s: list[float] = []
    waited_s = 0.0
    for done, took_s in zip(units, seconds, strict=True):
        waited_s += took_s
        if done:
            rounds_s.append(units_per_round * waited_s / done)
            waited_s = 0.0
    sample = Sample(
        rounds_s=() if failures else tuple(rounds_s),
        units_per_round=units_per_round,
        latency=summarise_latency(latencies_ms),
        answers=len(latencies_ms) + len(failures),
        failures=tuple(failures),
        telemetry=combine(telemetry),
        client_cpu_cores=client_cpu_cores,
    )
    return BurstRecord(tuple(units), tuple(seconds), sample)

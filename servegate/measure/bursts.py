"""Load in bursts on a process that stands still between them: how an arm is measured while it takes turns with another.

A server under load is stopped where it stands (SIGSTOP) with its requests in flight, and goes on with them in its next
burst: no burst has a ramp or a tail, however short it is, and an idle server's polling can't disturb the other arm.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.load.results import parse_steady_result
from servegate.load.server_timing import StageSpan, mean_stages, parse_server_timing
from servegate.load.workload import Workload
from servegate.measure.samples import burst_record
from servegate.processes.managed import ManagedProcess
from servegate.processes.server import ServerProcess
from servegate.records import BurstRecord, Cell, Telemetry
from servegate.telemetry.process_tree import ProcessTree, observe
from servegate.telemetry.sampler import TelemetrySampler

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# For the client to warm up, to hand over its figures and to end, on top of its load.
_CLIENT_DEADLINE_S = 120.0


@dataclass(frozen=True)
class PausableServer:
    """A server that is loaded by a client of its own; a cell's value is the concurrency."""

    server: ServerProcess
    client: ManagedProcess
    workload: Workload
    warmup_s: float
    observed: ProcessTree
    details: Mapping[str, str] = field(default_factory=dict)
    is_python: bool = False

    def start_load(self, cell: Cell) -> "ApiBurstLoad":
        """Open the cell's connections and warm up."""
        job = LoadJob(self.server.url, self.workload, cell.value, self.warmup_s, measure_s=None)
        began_s = time.monotonic()
        self.server.process.resume()
        self.client.exchange(job.to_json(), job.longest_s + _CLIENT_DEADLINE_S)
        self.server.process.pause()
        return ApiBurstLoad(self.server, self.client, self.observed, cell, (began_s, time.monotonic()))


@contextmanager
def open_pausable_server(server: ServerProcess, workload: Workload, warmup_s: float) -> Iterator[PausableServer]:
    """Stop a running server where it stands and start a client for it; the client ends with the context."""
    server.process.pause()
    with LoadEngine().start() as client, observe(server.process.pid) as observed:
        yield PausableServer(server, client, workload, warmup_s, observed)


class ApiBurstLoad:
    """Connections that stay open and loaded from burst to burst.

    Parameters
    ----------
    warmed_s:
        When the warm-up began and ended, on the monotonic clock.
    """

    shortest_burst_s = 0.0

    def __init__(
        self,
        server: ServerProcess,
        client: ManagedProcess,
        observed: ProcessTree,
        cell: Cell,
        warmed_s: tuple[float, float],
    ) -> None:
        self._server = server
        self._client = client
        self._observed = observed
        self._cell = cell
        # When the server ran: the warm-up, then each burst.
        self._ran_s = [warmed_s]
        self._telemetry: list[Telemetry] = []

    def burst(self, seconds: float) -> None:
        """Let the server go on where it stood."""
        # The sampler's own work falls before and after the burst.
        with TelemetrySampler(self._observed) as telemetry:
            began_s = time.monotonic()
            self._server.process.resume()
            time.sleep(seconds)
            self._server.process.pause()
            self._ran_s.append((began_s, time.monotonic()))
        self._telemetry.append(telemetry.record)
        self._server.process.check_healthy(f"while {self._cell} was measured")

    def finish(self) -> BurstRecord:
        """Have the requests in flight answered, and read what the client saw."""
        began_s = time.monotonic()
        self._server.process.resume()
        result = parse_steady_result(self._client.exchange("stop", _CLIENT_DEADLINE_S))
        self._server.process.pause()
        ran_s = np.array([*self._ran_s, (began_s, time.monotonic())])
        completed_s = np.array([item.at_s for item in result.completions])
        duration_s = np.array([item.duration_s for item in result.completions])
        began_at_s = running_time(completed_s - duration_s, ran_s)
        ended_at_s = running_time(completed_s, ran_s)
        edges_s = np.cumsum(ran_s[:, 1] - ran_s[:, 0])
        units = share_out(began_at_s, ended_at_s, edges_s[:-1])
        in_bursts = (ended_at_s > edges_s[0]) & (ended_at_s <= edges_s[-2])
        return burst_record(
            units,
            np.diff(edges_s[:-1]).tolist(),
            units_per_round=self._cell.value,
            latencies_ms=((ended_at_s - began_at_s)[in_bursts] * 1e3).tolist(),
            failures=result.failures,
            telemetry=self._telemetry,
            client_cpu_cores=result.client_cpu_s / float(edges_s[-1] - edges_s[0]),
            stages=mean_stages(
                [
                    without_pauses(parse_server_timing(item.server_timing), ran_s)
                    for item, inside in zip(result.completions, in_bursts, strict=True)
                    if inside
                ]
            ),
        )


def running_time(moments_s: Floats, ran_s: Floats) -> Floats:
    """How long a process had run at each moment, in seconds.

    Parameters
    ----------
    moments_s:
        On the monotonic clock.
    ran_s:
        When it ran: (n, 2) beginnings and ends, in order.
    """
    ends_at_s = np.cumsum(ran_s[:, 1] - ran_s[:, 0])
    begins_at_s = np.concatenate([[0.0], ends_at_s[:-1]])
    run_s: Floats = np.interp(moments_s, ran_s.ravel(), np.column_stack([begins_at_s, ends_at_s]).ravel())
    return run_s


def without_pauses(spans: Sequence[StageSpan], ran_s: Floats) -> list[StageSpan]:
    """A request's stages in running time, see `running_time`; those whose end the service doesn't tell are left out."""
    unix_s = time.time() - time.monotonic()
    running = []
    for span in spans:
        if span.ended_at_s is not None:
            end_s = span.ended_at_s - unix_s
            began_at_s, ended_at_s = running_time(np.array([end_s - span.duration_s, end_s]), ran_s)
            running.append(replace(span, duration_s=float(ended_at_s - began_at_s)))
    return running


def share_out(began_s: Floats, ended_s: Floats, edges_s: Floats) -> list[float]:
    """How many requests fall between each two neighbouring edges, each by the share of its time.

    Parameters
    ----------
    began_s, ended_s:
        Of each request.
    edges_s:
        n + 1 for n stretches.
    """
    inside_s = np.clip(edges_s[:, None], began_s, ended_s) - began_s
    shares = inside_s / np.maximum(ended_s - began_s, 1e-9)
    units: list[float] = np.diff(shares.sum(axis=1)).tolist()
    return units

"""Load a server in bursts and turns; between them it is paused, and the server of the other arm is loaded.

In bursts, a server under load is paused (SIGSTOP) with its requests in flight, and it continues them in its next burst:
no burst has a ramp or a tail, however short it is, and an idle server's polling can't disturb the other arm. But sleeps
and timeouts go on while a server is paused, so in bursts they seem shorter than they are. In turns, the client stops
sending at the end, and the server is paused when all requests are answered: each request is as late as it would be to a
user.

A GPU continues the work that a paused server has queued; see `servegate.processes.pausing`.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from statistics import fmean

import numpy as np

from servegate.load.client import LoadJob
from servegate.load.client_processes import ClientProcesses
from servegate.load.engines import LoadEngine
from servegate.load.server_timing import mean_stages, parse_server_timing
from servegate.measure.cell_load import LoadOf
from servegate.measure.moments import Floats, cut_turns, running_time, share_out, without_pauses
from servegate.measure.samples import burst_record, growth_per_unit, summarise_latency
from servegate.measure.targets import MeasuredRate, PausableTarget
from servegate.processes.pausing import ON_CPU, Pausing
from servegate.processes.server import ServerProcess
from servegate.records import BurstRecord, Cell, ProcessRecord, Telemetry
from servegate.telemetry.process_tree import ProcessTree, observe
from servegate.telemetry.sampler import TelemetrySampler

# A turn of random arrivals lasts at least so long: in a shorter one they hardly queue.
SHORTEST_OPEN_TURN_S = 2.0
# A turn has so many of them on average, unless it would last for too long: meanwhile the other server stands still.
_ARRIVALS = 40
_LONGEST_OPEN_TURN_S = 60.0
# Seconds of the closed loop that measures what a server can answer.
_CAPACITY_S = 2.0


@dataclass(frozen=True)
class PausableServer:
    """A server with its own client processes, which load it.

    Attributes
    ----------
    load_of:
        The load of each cell.
    """

    server: ServerProcess
    clients: ClientProcesses
    load_of: LoadOf
    warmup_s: float
    observed: ProcessTree
    record: ProcessRecord = field(default_factory=lambda: ProcessRecord(None, None))
    details: Mapping[str, str] = field(default_factory=dict)
    is_python: bool = False
    pausing: Pausing = ON_CPU

    def adapt_to(self, _: PausableTarget) -> "PausableServer":
        """Change nothing: both arms get the same requests."""
        return self

    def measure_rate(self, cell: Cell) -> MeasuredRate | None:
        """Measure the capacity by a closed loop, if the cell's rate is a share of it.

        By Little's law: each connection has one request in flight, so their number is throughput times latency. Where a
        slow service's first answers are still measured, it answered less than that, and what it answered counts.
        """
        load = self.load_of(cell)
        if load.percent_of_capacity is None:
            return None
        job = LoadJob(self.server.url, load.requests, load.connections, self.warmup_s, _CAPACITY_S)
        self.server.process.resume()
        self.clients.measure(job)
        result = self.clients.read_result(job)
        self.server.process.check_healthy(f"while the capacity for {cell} was measured")
        self.server.process.pause()
        right, failures = len(result.latencies_ms), tuple(result.failures)
        if not right:
            failures = failures or ("no answer came while the capacity was measured",)
            return MeasuredRate(0.0, len(failures), failures)
        capacity_per_s = min(load.connections / fmean(result.latencies_ms) * 1e3, right / result.measured_s)
        return MeasuredRate(load.percent_of_capacity / 100 * capacity_per_s, right + len(failures), failures)

    def start_load(self, cell: Cell, rate_per_s: float | None = None) -> "ApiBurstLoad":
        """Open the cell's connections and warm up."""
        load = self.load_of(cell)
        job = LoadJob(self.server.url, load.requests, load.connections, self.warmup_s, None, rate_per_s)
        began_s = time.monotonic()
        self.server.process.resume()
        self.clients.measure(job)
        if rate_per_s is not None:
            self.clients.hold()  # requests that come while the server stands still would wait for its next turn
        self.server.process.pause()
        warmed_s = began_s, time.monotonic()
        _settle(self.pausing)
        return ApiBurstLoad(
            self.server,
            self.clients,
            self.observed,
            cell,
            load.connections,
            warmed_s,
            self.pausing,
            rate_per_s,
        )


@contextmanager
def open_pausable_server(
    server: ServerProcess, load_of: LoadOf, warmup_s: float, engine: LoadEngine
) -> Iterator[PausableServer]:
    """Pause a running server and start the clients for it, which end with the context."""
    server.process.pause()
    with engine.start() as clients, observe(server.process.pid) as observed:
        yield PausableServer(server, clients, load_of, warmup_s, observed)


class ApiBurstLoad:
    """Connections that stay open and loaded from burst to burst.

    Parameters
    ----------
    warmed_s:
        The beginning and end of the warm-up on the monotonic clock.
    rate_per_s:
        The rate at which requests come, in turns alone; None where each connection waits for its answers.
    """

    takes_turns = True

    def __init__(
        self,
        server: ServerProcess,
        clients: ClientProcesses,
        observed: ProcessTree,
        cell: Cell,
        concurrency: int,
        warmed_s: tuple[float, float],
        pausing: Pausing,
        rate_per_s: float | None,
    ) -> None:
        self._is_open = rate_per_s is not None
        self.shortest_turn_s = 0.0 if rate_per_s is None else open_turn_s(rate_per_s)
        self.shortest_burst_s = pausing.shortest_burst_s
        self._pausing = pausing
        self._server = server
        self._clients = clients
        self._observed = observed
        self._cell = cell
        self._concurrency = concurrency
        # The times in which the server ran: all times, from the warm-up on; those of bursts; those of turns.
        self._ran_s = [warmed_s]
        self._bursts_s: list[tuple[float, float]] = []
        self._turns_s: list[tuple[float, float]] = []
        self._telemetry: list[Telemetry] = []
        self._memory_bytes = observed.memory_bytes()

    def burst(self, seconds: float) -> None:
        """Resume the server for this time, then pause it."""
        with self._observing(), self._running():
            time.sleep(seconds)
        self._bursts_s.append(self._ran_s[-1])
        self._server.process.check_healthy(f"while {self._cell} was measured")
        _settle(self._pausing)

    def turn(self, seconds: float) -> None:
        """Let the server run until it has answered what the client sends in this time."""
        with self._observing() if self._is_open else nullcontext(), self._running():
            if not self._turns_s:
                self._clients.hold()  # the last burst's requests are answered first
            began_s = time.monotonic()
            self._clients.go()
            time.sleep(seconds)
            self._turns_s.append((began_s, time.monotonic()))
            self._clients.hold()
        self._server.process.check_healthy(f"while {self._cell} was measured")

    def finish(self) -> BurstRecord:
        """Have the requests in flight answered, and read what the clients saw."""
        with self._running():
            result = self._clients.stop()
        memory_bytes = self._observed.memory_bytes()
        bursts_s = np.array(self._turns_s if self._is_open else self._bursts_s).reshape(-1, 2)
        ran_s = np.array(self._ran_s)
        ended_s = np.array([item.at_s for item in result.completions])
        sent_s = ended_s - np.array([item.duration_s for item in result.completions])
        # From here on, moments are in running time, in which the bursts follow each other.
        began_at_s, ended_at_s, edges_s = (running_time(moments_s, ran_s) for moments_s in (sent_s, ended_s, bursts_s))
        units = [share_out(began_at_s, ended_at_s, burst)[0] for burst in edges_s]
        in_bursts = (ended_at_s[:, None] > edges_s[:, 0]) & (ended_at_s[:, None] <= edges_s[:, 1])
        is_inside = np.asarray(in_bursts.any(axis=1))
        windows_ms = cut_turns(sent_s, ended_s, self._turns_s)
        latencies_ms = ((ended_at_s - began_at_s)[is_inside] * 1e3).tolist()
        record = burst_record(
            units,
            np.diff(edges_s)[:, 0].tolist(),
            units_per_round=self._concurrency,
            latencies_ms=latencies_ms,
            failures=result.failures,
            telemetry=self._telemetry,
            client_cores=[client.cpu_s / float(np.diff(ran_s)[1:].sum()) for client in result.clients],
            stages=mean_stages(
                [
                    without_pauses(parse_server_timing(item.server_timing), ran_s)
                    for item, inside in zip(result.completions, is_inside, strict=True)
                    if inside
                ]
            ),
        )
        in_turns_ms = [latency_ms for window_ms in windows_ms for latency_ms in window_ms]
        sample = replace(
            record.sample,
            answers=len(result.completions) + len(result.failures),
            latencies_ms=tuple(latencies_ms),
            windows_ms=windows_ms,
            latency_of_turns=summarise_latency(in_turns_ms) if in_turns_ms else None,
            first_pieces_ms=self._in_turns_ms(sent_s, [item.first_piece_s for item in result.completions]),
            piece_gaps_ms=self._in_turns_ms(sent_s, [item.piece_gap_s for item in result.completions]),
            grew_bytes_per_unit=growth_per_unit(self._memory_bytes, memory_bytes, len(result.completions)),
        )
        return replace(record, sample=sample)

    def _in_turns_ms(self, sent_s: Floats, durations_s: Sequence[float | None]) -> tuple[float, ...]:
        """The durations that are known, of the requests that were sent in turns."""
        ended_s = sent_s + np.array(durations_s, np.float64)  # NaN for None
        return tuple(
            duration_ms
            for duration_ms in chain.from_iterable(cut_turns(sent_s, ended_s, self._turns_s))
            if not math.isnan(duration_ms)
        )

    @contextmanager
    def _observing(self) -> Iterator[None]:
        # The sampler reads before and after; it reads within a burst only if that lasts half a second.
        with TelemetrySampler(self._observed) as telemetry:
            yield
        self._telemetry.append(telemetry.record)

    @contextmanager
    def _running(self) -> Iterator[None]:
        began_s = time.monotonic()
        self._server.process.resume()
        yield
        self._server.process.pause()
        self._ran_s.append((began_s, time.monotonic()))


def open_turn_s(rate_per_s: float) -> float:
    """The least seconds of a turn in which requests come at this rate."""
    return min(max(SHORTEST_OPEN_TURN_S, _ARRIVALS / rate_per_s), _LONGEST_OPEN_TURN_S)


def _settle(pausing: Pausing) -> None:
    """Wait until a paused server's queued work is done, so that it can't fall into the other arm's burst.

    After a turn nothing is queued: all requests are answered.
    """
    if pausing.settle_s:
        time.sleep(pausing.settle_s)

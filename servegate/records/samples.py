"""Records of what is measured: a cell of a checkout, in one fresh process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import median

from servegate.records.telemetry import Telemetry

# The name of the part of a request that lies outside of its stages: HTTP, queues and the client.
REST = "rest"


@dataclass(frozen=True)
class Latency:
    """The time that an answer took, or a batch for the model alone, in ms; NaN where there are too few to tell."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class StageTime:
    """The mean time that one stage takes for a request.

    Attributes
    ----------
    ms:
        Milliseconds from its beginning to its end.
    cpu_ms:
        CPU time for one request, also if several requests share the stage; None if the stage only waits.
    """

    ms: float
    cpu_ms: float | None


@dataclass(frozen=True)
class ProcessRecord:
    """A fresh process before its load.

    Attributes
    ----------
    start_s:
        Seconds from its start to its first right answer, or to ready where nothing is asked; None after a wrong answer.
    memory_bytes:
        Memory of the process and its children then, a shared page counted in parts; None where the system doesn't tell.
    """

    start_s: float | None
    memory_bytes: float | None


@dataclass(frozen=True)
class Sample:
    """One cell in one fresh process: the replicate that tests run on.

    Attributes
    ----------
    rounds_s:
        Seconds of each round; a round is a window of the running load.
    units_per_round:
        Images or requests that a round completes.
    answers, failures:
        Answers that were checked, and what was wrong with those that failed.
    telemetry:
        None where the measured process runs on another machine.
    client_cores:
        CPU-seconds a second of each process that makes the load; empty where the measured process makes its own.
    stages:
        The stages of a request, by name and in their order; empty where the service doesn't tell.
    windows_ms:
        Latencies of the requests that were sent in each window of turns, in which the process isn't paused; empty
        where it took no turns.
    latency_of_turns:
        The latency of the requests in these windows; None without one. A wait that goes on while a process is paused,
        as a timeout does, has its true length here, and looks shorter in `latency`.
    latencies_ms:
        The latencies of single answers that `latency` is of; empty where the measured process is no server.
    first_pieces_ms:
        The times in which the first pieces of the streamed answers to these requests came.
    piece_gaps_ms:
        The longest time between two pieces of each streamed answer to these requests.
    grew_bytes_per_unit:
        The memory that the measured processes kept of each unit; None where it isn't known.
    burst_rate_per_s:
        Units in all bursts by the seconds of all; None where rounds are no bursts, and so have the same units each.
    """

    rounds_s: tuple[float, ...]
    units_per_round: int
    latency: Latency
    answers: int
    failures: tuple[str, ...]
    telemetry: Telemetry | None
    client_cores: tuple[float, ...] = ()
    stages: Mapping[str, StageTime] = field(default_factory=dict)
    windows_ms: tuple[tuple[float, ...], ...] = ()
    latency_of_turns: Latency | None = None
    latencies_ms: tuple[float, ...] = ()
    first_pieces_ms: tuple[float, ...] = ()
    piece_gaps_ms: tuple[float, ...] = ()
    grew_bytes_per_unit: float | None = None
    burst_rate_per_s: float | None = None

    @property
    def felt_latency(self) -> Latency:
        """The latency that a user would see: that of turns where there were any."""
        return self.latency_of_turns or self.latency

    @property
    def felt_latencies_ms(self) -> Sequence[float]:
        """The latencies of single answers that `felt_latency` is of."""
        return [*chain.from_iterable(self.windows_ms)] or self.latencies_ms

    @property
    def rates_per_s(self) -> list[float]:
        """Units a second in each round."""
        return [self.units_per_round / seconds for seconds in self.rounds_s]

    @property
    def throughput_per_s(self) -> float:
        """Units a second in the median round: a stall of seconds hits few rounds and moves it little."""
        return self.units_per_round / median(self.rounds_s)

    @property
    def mean_throughput_per_s(self) -> float:
        """Units a second over all rounds: sharper than the median where a burst has only a few."""
        if self.burst_rate_per_s is not None:
            return self.burst_rate_per_s
        return self.units_per_round * len(self.rounds_s) / sum(self.rounds_s)

    @property
    def client_cpu_cores(self) -> float | None:
        """CPU-seconds a second of all processes that make the load; None where the measured process makes its own."""
        return sum(self.client_cores) if self.client_cores else None

    @property
    def core_ms_per_unit(self) -> float | None:
        """CPU time of the measured processes and of the client that loads them, in ms a unit; None if not known."""
        if self.telemetry is None:
            return None
        cpu_cores = self.telemetry.cpu_cores + (self.client_cpu_cores or 0.0)
        return cpu_cores / self.mean_throughput_per_s * 1e3

    @property
    def service_core_ms_per_unit(self) -> float | None:
        """CPU time of the measured processes alone, in ms a unit; None if not known."""
        if self.telemetry is None or not self.rounds_s:
            return None
        return self.telemetry.cpu_cores / self.mean_throughput_per_s * 1e3

    @property
    def parts(self) -> Mapping[str, StageTime]:
        """The stages, and as `rest` what none accounts for: the sum is the request's time, and the service's CPU."""
        if not self.stages or not self.rounds_s:
            return {}
        used_ms = self.service_core_ms_per_unit
        cpu_ms = None if used_ms is None else used_ms - sum(stage.cpu_ms or 0.0 for stage in self.stages.values())
        rest = StageTime(self.latency.mean_ms - sum(stage.ms for stage in self.stages.values()), cpu_ms)
        return {**self.stages, REST: rest}

    @property
    def success_rate(self) -> float:
        """Share of the answers that were right, 0..1."""
        return 1 - len(self.failures) / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class BurstRecord:
    """The work of one arm for a cell.

    Attributes
    ----------
    units, seconds:
        Images or requests in each burst, and the seconds that the burst lasted.
    sample:
        The sample of all bursts together.
    """

    units: tuple[float, ...]
    seconds: tuple[float, ...]
    sample: Sample

"""What a load in bursts comes to: exact figures, of a server, a client and a clock that follow a script."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest

from servegate.judging.absolute.validity import why_invalid
from servegate.load.client import GO, HOLD, MEASURE, STOP, LoadJob
from servegate.load.client_processes import ClientProcesses
from servegate.load.requests import Completion
from servegate.load.results import ClientRecord, MeasuredClient
from servegate.load.workload import Workload
from servegate.measure.bursts import ApiBurstLoad, PausableServer, open_turn_s
from servegate.measure.cell_load import CellLoad
from servegate.measure.samples import burst_record
from servegate.processes.managed import ManagedProcess
from servegate.processes.pausing import ON_CPU, ON_GPU, Pausing
from servegate.processes.server import ServerProcess
from servegate.records import BurstRecord, Cell, StageTime, Telemetry
from servegate.telemetry.process_tree import ProcessTree, UsageReading
from unit_tests.builders.runs.samples import make_gauges

CELL = Cell("api", "concurrency", 4)
TELEMETRY = Telemetry(cpu_cores=1.0, gauges=make_gauges(memory_bytes=1), gpu=None)
# Unix time less the monotonic clock's.
UNIX_S = 1.7e9
# Until a client is warm, and until it replies to the lines that follow.
WARM_UP_S = 2.0
TAKES_S = {MEASURE: 0.0, HOLD: 0.5, GO: 0.0, STOP: 1.0}


def test_a_burst_in_which_nothing_completed_adds_its_time_to_the_next() -> None:
    record = burst_record([4, 0, 8], [1.0, 1.0, 1.0], units_per_round=4, latencies_ms=[1.0], telemetry=[TELEMETRY])
    assert record.sample.rounds_s == (1.0, 1.0)
    assert record.sample.mean_throughput_per_s == 4.0


def test_what_a_record_holds_beside_its_rounds() -> None:
    """Failed answers count as answers; a share of each figure that a burst has is kept with the others."""
    busier = Telemetry(cpu_cores=3.0, gauges=make_gauges(memory_bytes=5), gpu=None)
    stages = {"predict": StageTime(4.0, 3.0)}
    record = burst_record(
        [4.5, 0.0],
        [1.0, 2.0],
        units_per_round=4,
        latencies_ms=[1.0, 3.0],
        failures=["status 500"],
        telemetry=[TELEMETRY, busier],
        client_cores=[0.5, 0.25],
        stages=stages,
    )
    assert (record.units, record.seconds) == ((4.5, 0.0), (1.0, 2.0))
    sample = record.sample
    assert (sample.rounds_s, sample.units_per_round) == ((), 4)
    assert (sample.answers, sample.failures, sample.latency.mean_ms) == (3, ("status 500",), 2.0)
    assert sample.telemetry is not None
    assert (sample.telemetry.cpu_cores, sample.telemetry.gauges["memory_bytes"]) == (2.0, 5)
    assert (sample.client_cores, sample.client_cpu_cores, sample.stages) == ((0.5, 0.25), 0.75, stages)


def test_a_record_without_a_client_or_stages_says_so() -> None:
    sample = burst_record([3, 3], [1.0, 2.0], units_per_round=6, latencies_ms=[1.0], telemetry=[TELEMETRY]).sample
    assert sample.rounds_s == (2.0, 4.0)
    assert (sample.client_cpu_cores, sample.stages, sample.failures, sample.answers) == (None, {}, (), 1)


def test_units_and_their_durations_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        burst_record([4, 4], [1.0], units_per_round=4, latencies_ms=[1.0], telemetry=[TELEMETRY])


@dataclass
class Client:
    """A client process of a script: the first one takes its time for some lines, and any other is done by then."""

    script: "Script"
    record: ClientRecord
    is_first: bool
    line: str = ""

    def write_line(self, line: str) -> None:
        """Requests are sent, or waited for: the server must run."""
        assert self.script.is_running
        self.line = line

    def read_line(self, deadline_s: float) -> str:
        self.script.told.append((self.line, deadline_s))
        if self.is_first:
            self.script.now_s += TAKES_S.get(self.line, WARM_UP_S)
        return self.record.to_json() if self.line == STOP else "{}"


class Script:
    """A server, its one or two client processes and the clock: time passes only where the script says so.

    The process runs from 1000 to 1002 (the warm-up), 1010 to 1011, 1020 to 1022 and 1030 to 1031 (three bursts), and
    1040 to 1041 (what is in flight is answered).
    """

    workload = Workload("/predict", b"{}", expected={})

    def __init__(
        self, completions: list[Completion], failures: list[str], client_cpu_s: tuple[float, ...] = (2.0,)
    ) -> None:
        self.now_s = 1000.0
        self.unix_s = UNIX_S
        self.ran_s: list[tuple[float, float]] = []
        self.checks: list[str] = []
        self.told: list[tuple[str, float]] = []
        self.settled: list[tuple[float, float]] = []
        self._since_s: float | None = None
        self._cpu_s = 0.0
        # The first client has seen what there is to see.
        first, *others = [[MeasuredClient(1002.0, 1041.0, cpu_s)] for cpu_s in client_cpu_s]
        self.clients = [Client(self, ClientRecord(completions, failures, first), is_first=True)]
        self.clients += [Client(self, ClientRecord([], [], other), is_first=False) for other in others]

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s + self.unix_s

    def sleep(self, seconds: float) -> None:
        """A burst while the server runs; while it stands still, its queued work settles."""
        if self._since_s is None:
            self.settled.append((self.now_s, seconds))
        self.now_s += seconds

    def resume(self) -> None:
        assert self._since_s is None
        self._since_s = self.now_s

    def pause(self) -> None:
        """Again while it stands still already changes nothing."""
        if self._since_s is not None:
            self.ran_s.append((self._since_s, self.now_s))
            self._since_s = None

    def check_healthy(self, what: str) -> None:
        self.checks.append(what)

    @property
    def is_running(self) -> bool:
        return self._since_s is not None

    @property
    def own_cpu_s(self) -> float:
        return 0.0

    def read(self) -> UsageReading:
        """A second of CPU time from reading to reading, while the server stands still."""
        assert self._since_s is None
        self._cpu_s += 1.0
        return UsageReading({"server": self._cpu_s}, gauges=make_gauges(memory_bytes=7), gpus=())

    def memory_bytes(self) -> float:
        """Ten kilobytes for each second of CPU time."""
        return 1e9 + 1e4 * self._cpu_s

    def start(self, monkeypatch: pytest.MonkeyPatch, pausing: Pausing = ON_CPU) -> ApiBurstLoad:
        """Warm the cell up."""
        for module in ("bursts", "moments"):
            monkeypatch.setattr(f"servegate.measure.{module}.time", self)
        server = cast("ServerProcess", SimpleNamespace(process=self, url="http://here"))
        clients = ClientProcesses(
            [cast("ManagedProcess", client) for client in self.clients], lambda _: len(self.clients)
        )
        observed = cast("ProcessTree", self)
        paused = PausableServer(server, clients, lambda _: CellLoad(self.workload, 4), 0.25, observed, pausing=pausing)
        assert paused.adapt_to(paused) is paused
        load = paused.start_load(CELL)
        assert load.shortest_burst_s == pausing.shortest_burst_s
        return load

    def play(self, monkeypatch: pytest.MonkeyPatch, pausing: Pausing = ON_CPU) -> BurstRecord:
        """Measure the cell in three bursts; the other arm has its turn before each."""
        load = self.start(monkeypatch, pausing)
        self.now_s = 1010.0
        load.burst(1.0)
        self.now_s = 1020.0
        load.burst(2.0)
        self.now_s = 1030.0
        load.burst(1.0)
        self.now_s = 1040.0
        return load.finish()


def completion(
    began_s: float, at_s: float, predict_ms: float | None = None, pieces_s: tuple[float, float | None] | None = None
) -> Completion:
    """Of a request that was sent at one moment and answered at another, its last stage just before."""
    end_s = at_s + UNIX_S
    timing = "" if predict_ms is None else f"predict;dur={predict_ms};cpu=10;end={end_s:.6f}"
    return Completion(at_s, at_s - began_s, timing, *(pieces_s or (None, None)))


def test_a_load_is_measured_by_what_completes_in_its_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered in the warm-up or after the last burst is no latency, nor are its stages told.

    Units are shared out by time, also of requests that began before the first burst or ended after the last.
    """
    script = Script(
        [
            completion(1001.0, 1001.5, 111.0),  # in the warm-up
            completion(1001.0, 1002.0, 111.0),  # at its very end
            completion(1001.5, 1010.5, 250.0),  # half of it in the warm-up: 1 s
            completion(1010.25, 1010.75, 250.0),  # within the first burst: 0.5 s
            completion(1010.5, 1020.5, 250.0),  # over the pause: 1 s, half in either burst
            completion(1020.0, 1022.0, 250.0),  # as long as the second burst: 2 s
            completion(1030.0, 1031.0, 250.0),  # as long as the last, and answered at its very end: 1 s
            completion(1030.5, 1040.5, 111.0),  # answered after it; half of it in the last burst
            completion(1030.0, 1041.0, 111.0),
        ],
        failures=[],
    )
    record = script.play(monkeypatch)
    assert record.seconds == (1.0, 2.0, 1.0)
    assert record.units == pytest.approx((0.5 + 1.0 + 0.5, 0.5 + 1.0, 1.0 + 0.5 + 0.5))
    sample = record.sample
    assert sample.rounds_s == pytest.approx((4 * 1.0 / 2.0, 4 * 2.0 / 1.5, 4 * 1.0 / 2.0))
    assert (sample.units_per_round, sample.failures) == (4, ())
    assert sample.answers == 9
    assert sample.grew_bytes_per_unit == pytest.approx(6e4 / 9)
    assert sample.latency.mean_ms == pytest.approx((1000 + 500 + 1000 + 2000 + 1000) / 5)
    assert sample.latency.p50_ms == pytest.approx(1000)
    assert sorted(sample.felt_latencies_ms) == pytest.approx([500, 1000, 1000, 1000, 2000])
    assert list(sample.stages) == ["predict"]
    assert sample.stages["predict"].ms == pytest.approx(250, abs=0.01)
    assert sample.stages["predict"].cpu_ms == pytest.approx(10)
    assert sample.client_cores == pytest.approx((2.0 / 5.0,))  # CPU-seconds since the warm-up
    assert sample.telemetry is not None
    assert sample.telemetry.gauges["memory_bytes"] == 7
    assert sample.telemetry.observed_cpu_s == 3.0


def test_the_process_runs_in_bursts_alone_and_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([completion(1010.0, 1010.5)], failures=[])
    sample = script.play(monkeypatch).sample
    assert script.ran_s == [(1000.0, 1002.0), (1010.0, 1011.0), (1020.0, 1022.0), (1030.0, 1031.0), (1040.0, 1041.0)]
    assert script.checks == ["while api[concurrency=4] was measured"] * 3
    assert script.settled == [], "nothing that a CPU has queued runs on"
    assert sample.stages == {}


def test_on_a_gpu_queued_work_settles_after_each_pause_and_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait follows the warm-up and each burst, while the server stands still. The record is that of a CPU."""
    completions = [completion(1001.5, 1010.5, 250.0), completion(1010.25, 1010.75, 250.0), completion(1020.0, 1022.0)]
    script = Script(completions, failures=[])
    record = script.play(monkeypatch, ON_GPU)
    assert script.settled == [(paused_s, ON_GPU.settle_s) for paused_s in (1002.0, 1011.0, 1022.0, 1031.0)]
    assert script.ran_s == [(1000.0, 1002.0), (1010.0, 1011.0), (1020.0, 1022.0), (1030.0, 1031.0), (1040.0, 1041.0)]
    on_cpu = Script(completions, failures=[]).play(monkeypatch)
    assert (record.units, record.seconds) == (on_cpu.units, on_cpu.seconds)
    assert (record.sample.latency, record.sample.stages) == (on_cpu.sample.latency, on_cpu.sample.stages)


def test_a_gpus_bursts_are_longer_than_a_cpus_and_its_queue_settles() -> None:
    assert (ON_CPU.shortest_burst_s, ON_CPU.settle_s) == (0.0, 0.0)
    assert ON_GPU.shortest_burst_s == 1.0
    assert 0 < ON_GPU.settle_s < ON_GPU.shortest_burst_s / 10


def test_the_client_is_told_what_to_send_and_has_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads the server until it is told to stop; a deadline below what its job may take would break it off."""
    script = Script([completion(1010.0, 1010.5)], failures=[])
    script.play(monkeypatch)
    (line, start_deadline_s), (measure, _), (stop, stop_deadline_s) = script.told
    job = LoadJob("http://here", script.workload, concurrency=4, warmup_s=0.25, measure_s=None)
    assert LoadJob.from_json(line) == job
    assert start_deadline_s > job.longest_s
    assert (measure, stop) == (MEASURE, STOP)
    assert stop_deadline_s > 60


def test_each_client_process_has_a_ceiling_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two clients that share the connections was busy for 4.6 of the 5 seconds in which the server ran."""
    script = Script([completion(1010.0, 1010.5)], failures=[], client_cpu_s=(1.0, 4.6))
    sample = script.play(monkeypatch).sample
    jobs = [LoadJob.from_json(line) for line, _ in script.told[:2]]
    assert [(job.concurrency, job.number) for job in jobs] == [(2, 0), (2, 1)]
    assert [line for line, _ in script.told[2:]] == [MEASURE, MEASURE, STOP, STOP]
    assert sample.client_cores == pytest.approx((0.2, 0.92))
    assert "a client process used 0.92 of its one core" in str(why_invalid([sample], 0.9))
    assert why_invalid([sample], 0.93) is None


def test_a_turn_begins_and_ends_with_nothing_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers the last burst's requests before the first turn, and each turn's own before the turn ends."""
    script = Script(
        [
            completion(1010.0, 1010.25, pieces_s=(0.0625, 0.0625)),  # left by the warm-up
            completion(1010.5, 1010.75, pieces_s=(0.125, None)),
            completion(1011.25, 1012.0),
            completion(1020.5, 1022.5, pieces_s=(0.5, 1.25)),
        ],
        failures=[],
    )
    load = script.start(monkeypatch)
    script.now_s = 1010.0
    load.turn(1.0)
    script.now_s = 1020.0
    load.turn(2.0)
    script.now_s = 1030.0
    sample = load.finish().sample
    assert [line for line, _ in script.told[2:]] == [HOLD, GO, HOLD, GO, HOLD, STOP]
    assert all(deadline_s > 60 for _, deadline_s in script.told)
    assert script.ran_s == [(1000.0, 1002.0), (1010.0, 1012.0), (1020.0, 1022.5), (1030.0, 1031.0)]
    assert script.checks == ["while api[concurrency=4] was measured"] * 2
    assert sample.windows_ms == ((250.0,), (750.0,), (), (2000.0,), (), ())
    assert sample.felt_latencies_ms == [250.0, 750.0, 2000.0]
    assert (sample.first_pieces_ms, sample.piece_gaps_ms) == ((125.0, 500.0), (1250.0,))
    assert sample.latency_of_turns is not None
    assert sample.latency_of_turns.mean_ms == 1000.0
    assert (sample.rounds_s, sample.answers) == ((), 4)
    assert sample.client_cores == pytest.approx((2.0 / 5.5,))


def test_failures_of_the_client_are_those_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([completion(1010.0, 1010.5)], failures=["status 500: no"])
    sample = script.play(monkeypatch).sample
    assert (sample.failures, sample.answers, sample.rounds_s) == (("status 500: no",), 2, ())


@pytest.mark.parametrize(("rate_per_s", "turn_s"), [(100.0, 2.0), (20.0, 2.0), (10.0, 4.0), (0.5, 60.0)])
def test_a_turn_has_forty_arrivals_unless_it_would_last_too_long(rate_per_s: float, turn_s: float) -> None:
    assert open_turn_s(rate_per_s) == turn_s

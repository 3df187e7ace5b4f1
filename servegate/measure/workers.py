"""Measure a worker, such as a model alone: a process that reads jobs and answers them, as lines of JSON on pipes."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from servegate.errors import MeasurementError, SettingsError
from servegate.judging.figures.kinds import COST, GROWTH, MEMORY, START, FigureKind
from servegate.load.engines import LoadEngine
from servegate.measure.code_path import fill_python, make_environment, names_python
from servegate.measure.samples import burst_record, growth_per_unit, summarise_latency
from servegate.measure.targets import Conditions, Launchable, MeasurementTarget, PausableTarget, explain_no_number
from servegate.processes.managed import ManagedProcess
from servegate.records import BurstRecord, Cell, Checkout, ProcessRecord, Sample, Telemetry
from servegate.telemetry.devices import reports_gpu
from servegate.telemetry.missed_gpu import tell_missed_gpu
from servegate.telemetry.process_tree import ProcessTree, observe
from servegate.telemetry.sampler import TelemetrySampler

# The deadline of a job is this, and _PATIENCE times the time that its rounds should take.
_JOB_DEADLINE_S = 120.0
_PATIENCE = 8.0
_MIN_ROUNDS = 3
# One batch at a time leaves a GPU idle while the next one is prepared and copied. A server doesn't: its workers take
# turns on the GPU. With two batches in flight the model alone is the capacity that its API is compared with.
_IN_FLIGHT_ON_GPU = 2


@dataclass(frozen=True)
class WorkerInstrument:
    """A running worker; a cell's value is the batch size.

    Attributes
    ----------
    group:
        The name of the group of its cells.
    reported:
        The details that the worker reports about itself.
    in_flight:
        The number of batches that it works on at a time while it is measured.
    """

    worker: ManagedProcess
    group: str
    reported: Mapping[str, str]
    is_python: bool
    observed: ProcessTree
    record: ProcessRecord
    in_flight: int = 1

    @property
    def details(self) -> Mapping[str, str]:
        """The details that it reports, and its batches in flight if it has more than one."""
        if self.in_flight == 1:
            return self.reported
        return {**self.reported, f"{self.group} batches in flight": str(self.in_flight)}

    def adapt_to(self, other: PausableTarget) -> "WorkerInstrument":
        """Limit the batches in flight to what the other arm's worker supports; an older worker supports one."""
        assert isinstance(other, WorkerInstrument), "both arms are processes of one target"
        return replace(self, in_flight=min(self.in_flight, other.in_flight))

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Run rounds for about this long, after two to warm up."""
        batch_size = int(cell.value)
        _, one_round_s = self.run(batch_size, 2)
        rounds = max(_MIN_ROUNDS, math.ceil(seconds / one_round_s))
        with TelemetrySampler(self.observed) as telemetry:
            rounds_s = self.run(batch_size, rounds, rounds * one_round_s)
        return Sample(
            rounds_s=tuple(rounds_s),
            units_per_round=batch_size,
            latency=summarise_latency([round_s * 1e3 for round_s in rounds_s]),
            answers=rounds,
            failures=(),
            telemetry=telemetry.record,
        )

    def measure_rate(self, _: Cell) -> None:
        """Return None: the worker runs its own batches, so no load comes at a given rate."""

    def start_load(self, cell: Cell, _: float | None = None) -> "WorkerBurstLoad":
        """Warm the cell up; between jobs the worker waits without using the CPU."""
        batch_size = int(cell.value)
        return WorkerBurstLoad(self, batch_size, self.run(batch_size, 2)[-1])

    def run(self, batch_size: int, rounds: int, expected_s: float = 0.0) -> list[float]:
        """Run a job, and return the seconds of each round; the deadline allows for `expected_s` in all."""
        job = {"batch_size": batch_size, "rounds": rounds}
        if self.in_flight > 1:
            job["in_flight"] = self.in_flight
        line = self.worker.exchange(json.dumps(job), _PATIENCE * expected_s + _JOB_DEADLINE_S)
        try:
            reply = json.loads(line)
            if "error" not in reply:
                return [float(seconds) for seconds in reply["seconds"]]
        except (ValueError, TypeError, KeyError):
            raise MeasurementError(
                f'{self.worker.name} must answer a job with {{"seconds": [...]}} and write nothing else on its stdout, '
                f"but said {line.strip()!r}"
            ) from None
        raise MeasurementError(f"{self.worker.name} refuses the job: {reply['error']}")


class WorkerBurstLoad:
    """Rounds of one size, in bursts of whole rounds; no request waits, so it takes no turns."""

    takes_turns = False
    shortest_turn_s = 0.0

    def __init__(self, instrument: WorkerInstrument, batch_size: int, one_round_s: float) -> None:
        self._instrument = instrument
        self._batch_size = batch_size
        self.shortest_burst_s = one_round_s
        self._bursts: list[list[float]] = []
        self._telemetry: list[Telemetry] = []
        self._memory_bytes = instrument.observed.memory_bytes()

    def burst(self, seconds: float) -> None:
        """Measure the number of rounds that comes nearest to this time, but at least one."""
        rounds = max(1, round(seconds / self.shortest_burst_s))
        with TelemetrySampler(self._instrument.observed) as telemetry:
            self._bursts.append(self._instrument.run(self._batch_size, rounds, seconds))
        self._telemetry.append(telemetry.record)

    def turn(self, seconds: float) -> None:
        """Do nothing; see `takes_turns`."""

    def finish(self) -> BurstRecord:
        """Summarise the bursts. There is no load to end: each job has ended with its answer."""
        units = [self._batch_size * len(burst) for burst in self._bursts]
        record = burst_record(
            units,
            [sum(burst) for burst in self._bursts],
            units_per_round=self._batch_size,
            latencies_ms=[round_s * 1e3 for burst in self._bursts for round_s in burst],
            telemetry=self._telemetry,
        )
        grew_bytes = growth_per_unit(self._memory_bytes, self._instrument.observed.memory_bytes(), sum(units))
        return replace(record, sample=replace(record.sample, grew_bytes_per_unit=grew_bytes))


@dataclass(frozen=True)
class WorkerTarget:
    """Throughput of something without a server, as a model alone; a cell's value is the batch size.

    The worker is a process that reads jobs from its stdin and answers on its stdout, one JSON object a line. It first
    says `{"ready": {...}}`, with names and values to record, in the form of `HttpService.describe`. A job is
    `{"batch_size": 8, "rounds": 12}`. Its answer is `{"seconds": [...]}`, the time of each round with the device
    synchronised, or `{"error": "..."}`.

    A worker on a GPU may have two batches in flight. It then says `{"ready": {...}, "most_in_flight": 2}`, with a name
    that ends with `device` and another value than `cpu`, and gets jobs with `"in_flight": 2`, in which a round is the
    time from one completion to the next. Side by side, both arms have one batch in flight where either knows no more.

    Attributes
    ----------
    name:
        The group's name, which `perf_cells` gives its values.
    command:
        Program and arguments, run in the checkout's folder; `{python}` stands for the interpreter of its environment.
    unit:
        The name of the items in a batch, as in `images`.
    ready_deadline_s:
        The most seconds from its start to its first line.
    environment:
        Environment variables in addition to those of pytest.
    """

    name: str
    command: Sequence[str]
    unit: str = "items"
    parameter: str = "batch"
    ready_deadline_s: float = 180.0
    environment: Mapping[str, str] = field(default_factory=dict)
    ceiling: MeasurementTarget | None = field(default=None, init=False)
    rate_is_given: bool = field(default=False, init=False)
    figures: Sequence[FigureKind] = field(default=(COST, MEMORY, GROWTH, START), init=False)

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Explain why a cell can't have this value; None if it can."""
        return explain_no_number(value)

    def share(self, other: Launchable) -> None:
        """Share no process: a worker serves one target."""

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[WorkerInstrument]:
        """Start a worker of the working tree.

        Raises
        ------
        SettingsError
            Where a service that runs elsewhere is to be measured.
        """
        if conditions.deployed is not None:
            raise SettingsError(f"the group {self.name!r} can't be measured at a URL; leave it out of --perf-cells")
        with self.launch(conditions.head) as launched:
            launched.wait_until_ready()
            yield launched.open(conditions.engine)

    @contextmanager
    def launch(self, checkout: Checkout) -> Iterator["LaunchedWorker"]:
        """Start the worker of a checkout."""
        command, environment = fill_python(self.command, checkout), make_environment(checkout, self.environment)
        name = f"the {self.name} worker"
        with (
            ExitStack() as parts,
            ManagedProcess(command, cwd=checkout.folder, env=environment, name=name, pipes=True) as worker,
        ):
            yield LaunchedWorker(self, worker, parts)


class LaunchedWorker:
    """A worker that was started and may not be ready yet.

    Parameters
    ----------
    parts:
        The context that closes what `open` opens.
    """

    def __init__(self, target: WorkerTarget, worker: ManagedProcess, parts: ExitStack) -> None:
        self._target = target
        self._worker = worker
        self._parts = parts
        self._began_s = time.monotonic()
        self._start_s = 0.0
        self._line = ""

    def wait_until_ready(self) -> None:
        """Wait for its first line."""
        self._line = self._worker.read_line(self._target.ready_deadline_s)
        self._start_s = time.monotonic() - self._began_s

    def ask_to_end(self) -> None:
        """See `LaunchedProcess`."""
        self._worker.ask_to_end()

    def open(self, _: LoadEngine, /) -> WorkerInstrument:
        """Read the worker's first line, and begin to observe its processes."""
        name = self._target.name
        try:
            document = json.loads(self._line)
            ready, most_in_flight = document["ready"], document.get("most_in_flight", 1)
            details = {f"{name} {key}": str(value) for key, value in ready.items() if value not in (None, False)}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise MeasurementError(
                f'{self._worker.name} must first say {{"ready": {{...}}}} on its stdout, '
                f"but said {self._line.strip()!r}"
            ) from None
        if type(most_in_flight) is not int or most_in_flight < 1:  # a bool is an int, too
            raise MeasurementError(
                f'{self._worker.name} says "most_in_flight": {json.dumps(most_in_flight)} in its first line; '
                "it must be a whole number from 1 on, or left out"
            )
        observed = self._parts.enter_context(observe(self._worker.pid))
        return WorkerInstrument(
            self._worker,
            name,
            tell_missed_gpu(details),
            names_python(self._target.command),
            observed,
            ProcessRecord(self._start_s, observed.memory_bytes()),
            in_flight=min(most_in_flight, _IN_FLIGHT_ON_GPU) if reports_gpu(details) else 1,
        )

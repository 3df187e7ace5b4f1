"""A model without its API, measured through a worker's JSON lines."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from servegate.errors import MeasurementError
from servegate.measure.bursts import burst_record
from servegate.measure.process_by_process import summarise_latency
from servegate.processes.managed import ManagedProcess
from servegate.records import BurstRecord, Cell, Checkout, Sample, Telemetry
from servegate.telemetry.process_tree import ProcessTree, observe
from servegate.telemetry.sampler import TelemetrySampler

_READY_DEADLINE_S = 180.0
# For a job, on top of many times what its rounds should take.
_JOB_DEADLINE_S = 120.0
_PATIENCE = 8.0
_MIN_ROUNDS = 3


@dataclass(frozen=True)
class WorkerInstrument:
    """A running worker; a cell's value is the number of images a round."""

    worker: ManagedProcess
    details: Mapping[str, str]
    observed: ProcessTree

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Run rounds for about this long, after two to warm up."""
        _, one_round_s = self.run(cell.value, 2)
        rounds = max(_MIN_ROUNDS, math.ceil(seconds / one_round_s))
        with TelemetrySampler(self.observed) as telemetry:
            rounds_s = self.run(cell.value, rounds, rounds * one_round_s)
        return Sample(
            rounds_s=tuple(rounds_s),
            units_per_round=cell.value,
            latency=summarise_latency([round_s * 1e3 for round_s in rounds_s]),
            answers=rounds,
            failures=(),
            telemetry=telemetry.record,
        )

    def start_load(self, cell: Cell) -> "WorkerBurstLoad":
        """Warm the cell up; between jobs the worker waits without using the CPU."""
        return WorkerBurstLoad(self, cell.value, self.run(cell.value, 2)[-1])

    def run(self, batch_size: int, rounds: int, expected_s: float = 0.0) -> list[float]:
        """Seconds of each round; together they should take so long."""
        job = {"batch_size": batch_size, "rounds": rounds}
        reply = json.loads(self.worker.exchange(json.dumps(job), _PATIENCE * expected_s + _JOB_DEADLINE_S))
        if "error" in reply:
            raise MeasurementError(f"{self.worker.name} refuses the job: {reply['error']}")
        seconds: list[float] = reply["seconds"]
        return seconds


class WorkerBurstLoad:
    """Rounds of one size, in bursts of whole rounds."""

    def __init__(self, instrument: WorkerInstrument, batch_size: int, one_round_s: float) -> None:
        self._instrument = instrument
        self._batch_size = batch_size
        self.shortest_burst_s = one_round_s
        self._bursts: list[list[float]] = []
        self._telemetry: list[Telemetry] = []

    def burst(self, seconds: float) -> None:
        """As many rounds as the time holds, one at least."""
        rounds = max(1, round(seconds / self.shortest_burst_s))
        with TelemetrySampler(self._instrument.observed) as telemetry:
            self._bursts.append(self._instrument.run(self._batch_size, rounds, seconds))
        self._telemetry.append(telemetry.record)

    def finish(self) -> BurstRecord:
        """Nothing is left running."""
        return burst_record(
            [self._batch_size * len(burst) for burst in self._bursts],
            [sum(burst) for burst in self._bursts],
            units_per_round=self._batch_size,
            latencies_ms=[round_s * 1e3 for burst in self._bursts for round_s in burst],
            telemetry=self._telemetry,
        )


@contextmanager
def launch_worker(name: str, arguments: Sequence[str], arm: Checkout) -> Iterator[Callable[[], WorkerInstrument]]:
    """Start the worker of a checkout; what this gives waits until it is ready.

    Parameters
    ----------
    name:
        What its details and errors call it.
    arguments:
        Of python.
    """
    command = [arm.python, *arguments]
    with ExitStack() as parts:
        worker = parts.enter_context(
            ManagedProcess(command, cwd=arm.folder, env={}, name=f"the {name} worker", pipes=True)
        )

        def wait_until_ready() -> WorkerInstrument:
            ready = json.loads(worker.read_line(_READY_DEADLINE_S))["ready"]
            details = {f"{name} {key}": str(value) for key, value in ready.items()}
            return WorkerInstrument(worker, details, parts.enter_context(observe(worker.pid)))

        yield wait_until_ready


@contextmanager
def fresh_worker(name: str, arguments: Sequence[str], arm: Checkout) -> Iterator[WorkerInstrument]:
    """The worker of a checkout, ready; as in `launch_worker`."""
    with launch_worker(name, arguments, arm) as wait_until_ready:
        yield wait_until_ready()

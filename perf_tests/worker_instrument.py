"""The model, or all from a file's bytes to its answer, without the API: measured through a worker's JSON lines."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfgate.errors import MeasurementError
from perfgate.measure import summarise_latency
from perfgate.processes import ManagedProcess
from perfgate.records import Arm, Cell, Sample
from perfgate.telemetry import TelemetrySampler
from perfgate.workload import difference

_READY_DEADLINE_S = 180.0
# For a job, on top of many times what its rounds should take.
_JOB_DEADLINE_S = 120.0
_PATIENCE = 8.0
_MIN_ROUNDS = 3


@dataclass(frozen=True)
class WorkerJob:
    """Which worker is measured, and what its jobs are.

    Attributes
    ----------
    arguments:
        Of python.
    fields:
        What each job has besides the images a round and the rounds.
    expected, tolerance:
        What each of a reply's `answers` is compared with, as in a `Workload`.
    """

    arguments: Sequence[str]
    fields: Mapping[str, object] = field(default_factory=dict)
    expected: object = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class WorkerInstrument:
    """A running worker; a cell's value is the number of images a round."""

    worker: ManagedProcess
    job: WorkerJob
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Run rounds for about this long, after two to warm up."""
        _, one_round_s = self._run(cell.value, 2, _JOB_DEADLINE_S)["seconds"]
        rounds = max(_MIN_ROUNDS, math.ceil(seconds / one_round_s))
        with TelemetrySampler(self.worker.pid) as telemetry:
            reply = self._run(cell.value, rounds, _PATIENCE * rounds * one_round_s + _JOB_DEADLINE_S)
        wrong = [difference(self.job.expected, answer, self.job.tolerance) for answer in reply.get("answers", [])]
        failures = tuple(reason for reason in wrong if reason is not None)
        rounds_s: list[float] = reply["seconds"]
        return Sample(
            rounds_s=() if failures else tuple(rounds_s),
            units_per_round=cell.value,
            latency=summarise_latency([round_s * 1e3 for round_s in rounds_s]),
            answers=rounds,
            failures=failures,
            telemetry=telemetry.record,
        )

    def _run(self, batch_size: int, rounds: int, deadline_s: float) -> dict[str, list[float]]:
        job = {**self.job.fields, "batch_size": batch_size, "rounds": rounds}
        reply: dict[str, list[float]] = json.loads(self.worker.exchange(json.dumps(job), deadline_s))
        if "error" in reply:
            raise MeasurementError(f"{self.worker.name} refuses the job: {reply['error']}")
        return reply

    def pause(self) -> None:
        """Nothing to do: it waits for its next job without using the CPU."""

    def resume(self) -> None:
        """Nothing to do."""


@contextmanager
def fresh_worker(name: str, job: WorkerJob, arm: Arm) -> Iterator[WorkerInstrument]:
    """Start the worker of a checkout; `name` is what its details and errors call it."""
    command = [arm.python, *job.arguments]
    with ManagedProcess(command, cwd=arm.folder, env={}, name=f"the {name} worker", pipes=True) as worker:
        ready = json.loads(worker.read_line(_READY_DEADLINE_S))["ready"]
        yield WorkerInstrument(worker, job, {f"{name} {key}": str(value) for key, value in ready.items()})

"""The model without the API, measured through `python -m service.model_worker`."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from perfgate.bursts import burst_record
from perfgate.errors import MeasurementError
from perfgate.group import BurstRecord
from perfgate.measure import summarise_latency
from perfgate.processes import ManagedProcess
from perfgate.records import Arm, Cell, Sample, Telemetry
from perfgate.telemetry import TelemetrySampler

# One worker on all cores, the same that the server's workers share: so the API's share of it means something.
ARGUMENTS = ("-m", "service.model_worker", "--workers-per-device", "1")
_READY_DEADLINE_S = 180.0
# For a job, on top of many times what its rounds should take.
_JOB_DEADLINE_S = 120.0
_PATIENCE = 8.0
_MIN_ROUNDS = 3


@dataclass(frozen=True)
class ModelInstrument:
    """A running model worker; a cell's value is the batch size."""

    worker: ManagedProcess
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Predict batches for about this long, after two to warm up."""
        _, one_round_s = self.run(cell.value, 2, _JOB_DEADLINE_S)
        rounds = max(_MIN_ROUNDS, math.ceil(seconds / one_round_s))
        with TelemetrySampler(self.worker.pid) as telemetry:
            rounds_s = self.run(cell.value, rounds, _PATIENCE * rounds * one_round_s + _JOB_DEADLINE_S)
        return Sample(
            rounds_s=tuple(rounds_s),
            units_per_round=cell.value,
            latency=summarise_latency([round_s * 1e3 for round_s in rounds_s]),
            answers=rounds,
            failures=(),
            telemetry=telemetry.record,
        )

    def run(self, batch_size: int, rounds: int, deadline_s: float) -> list[float]:
        """Seconds of each round."""
        line = self.worker.exchange(json.dumps({"batch_size": batch_size, "rounds": rounds}), deadline_s)
        answer = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"the model worker refuses the job: {answer['error']}")
        seconds: list[float] = answer["seconds"]
        return seconds

    def start_load(self, cell: Cell) -> "ModelBurstLoad":
        """Warm the batch size up; between jobs the worker waits without using the CPU."""
        self.run(cell.value, 1, _JOB_DEADLINE_S)
        (one_round_s,) = self.run(cell.value, 1, _JOB_DEADLINE_S)
        return ModelBurstLoad(self, cell.value, one_round_s)


class ModelBurstLoad:
    """Batches of one size, in bursts of whole batches."""

    def __init__(self, instrument: ModelInstrument, batch_size: int, one_round_s: float) -> None:
        self._instrument = instrument
        self._batch_size = batch_size
        self.shortest_burst_s = one_round_s
        self._bursts_s: list[list[float]] = []
        self._telemetry: list[Telemetry] = []

    def burst(self, seconds: float) -> None:
        """As many batches as the time holds, one at least."""
        rounds = max(1, round(seconds / self.shortest_burst_s))
        with TelemetrySampler(self._instrument.worker.pid) as telemetry:
            self._bursts_s.append(self._instrument.run(self._batch_size, rounds, _PATIENCE * seconds + _JOB_DEADLINE_S))
        self._telemetry.append(telemetry.record)

    def finish(self) -> BurstRecord:
        """Nothing is left running."""
        return burst_record(
            [self._batch_size * len(rounds_s) for rounds_s in self._bursts_s],
            [sum(rounds_s) for rounds_s in self._bursts_s],
            units_per_round=self._batch_size,
            latencies_ms=[round_s * 1e3 for rounds_s in self._bursts_s for round_s in rounds_s],
            telemetry=self._telemetry,
        )


@contextmanager
def fresh_model_worker(arm: Arm) -> Iterator[ModelInstrument]:
    """Start the model worker of a checkout."""
    with ManagedProcess(
        [arm.python, *ARGUMENTS], cwd=arm.folder, env={}, name="the model worker", pipes=True
    ) as worker:
        ready = json.loads(worker.read_line(_READY_DEADLINE_S))["ready"]
        yield ModelInstrument(worker, {f"model {name}": str(value) for name, value in ready.items()})

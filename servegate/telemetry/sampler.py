"""CPU, memory and GPU of a process and its children while a measurement runs."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import TracebackType
from typing import Self

import psutil
import pynvml

from servegate.errors import MeasurementError
from servegate.judging.estimators import mean_of_known, most_of_known
from servegate.records import GpuUse, Telemetry
from servegate.telemetry.gauges import over_time
from servegate.telemetry.process_tree import ProcessTree, UsageReading

_INTERVAL_S = 0.5
_LASTING_SHARE = 0.1


class TelemetrySampler:
    """A context manager that owns its thread; afterwards `record` holds what the block used.

    Parameters
    ----------
    observed:
        The processes to read, at the beginning and end of the block and twice a second.
    """

    record: Telemetry

    def __init__(self, observed: ProcessTree) -> None:
        self._observed = observed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="telemetry", daemon=True)
        self._cpu_s: dict[str, float] = {}
        self._readings: list[UsageReading] = []
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._start_own_cpu_s = self._observed.own_cpu_s
        self._sample()
        self._start_s = time.monotonic()
        self._start_cpu_s = dict(self._cpu_s)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None:
            return
        if self._error is None:
            self._sample()
        elapsed_s = time.monotonic() - self._start_s
        if self._error is not None:
            raise MeasurementError(f"telemetry failed: {self._error}") from self._error
        used_s = {name: total - self._start_cpu_s.get(name, 0.0) for name, total in self._cpu_s.items()}
        self.record = Telemetry(
            cpu_cores=sum(used_s.values()) / elapsed_s,
            gauges=over_time([reading.gauges for reading in self._readings]),
            gpu=_gpu_use(self._readings),
            own_cpu_s=self._observed.own_cpu_s - self._start_own_cpu_s,
            observed_cpu_s=sum(used_s.values()),
            cpu_cores_by_process={name: seconds / elapsed_s for name, seconds in used_s.items()},
        )

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        try:
            reading = self._observed.read()
        except (psutil.Error, pynvml.NVMLError) as error:
            self._error = error
            self._stop.set()
        else:
            self._readings.append(reading)
            # The last reading of a process that has ended stays.
            self._cpu_s.update(reading.cpu_s)


def _gpu_use(readings: Sequence[UsageReading]) -> GpuUse | None:
    """Combine the readings of all GPUs; None without a GPU."""
    all_gpus = [gpu for reading in readings for gpu in reading.gpus]
    if not all_gpus:
        return None
    powers = [[gpu.power_w for gpu in reading.gpus] for reading in readings]
    energies = [(start.energy_j, end.energy_j) for start, end in zip(readings[0].gpus, readings[-1].gpus, strict=True)]
    return GpuUse(
        utilisation_percent=mean_of_known([gpu.utilisation_percent for gpu in all_gpus]),
        memory_bytes=max(sum(gpu.memory_bytes for gpu in reading.gpus) for reading in readings),
        power_w=mean_of_known([sum(value for value in power if value is not None) for power in powers])
        if all(value is not None for power in powers for value in power)
        else None,
        energy_j=sum(end - start for start, end in energies if start is not None and end is not None)
        if all(start is not None and end is not None for start, end in energies)
        else None,
        temperature_c=most_of_known([gpu.temperature_c for gpu in all_gpus]),
        sm_clock_mhz=mean_of_known([gpu.sm_clock_mhz for gpu in all_gpus]),
        slowed_by=_lasting([[reason for gpu in reading.gpus for reason in gpu.slowed_by] for reading in readings]),
    )


def combine(records: Sequence[Telemetry]) -> Telemetry:
    """Equally long stretches as one; at least one."""
    gpus = [record.gpu for record in records if record.gpu is not None]
    return Telemetry(
        cpu_cores=fmean(record.cpu_cores for record in records),
        gauges=over_time([record.gauges for record in records]),
        gpu=_combine_gpus(gpus) if gpus else None,
        own_cpu_s=sum(record.own_cpu_s for record in records),
        observed_cpu_s=sum(record.observed_cpu_s for record in records),
        cpu_cores_by_process=mean_by_process([record.cpu_cores_by_process for record in records]),
    )


def mean_by_process(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average over the records; a process that a record lacks counts as 0 there."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: fmean(record.get(name, 0.0) for record in records) for name in names}


def _combine_gpus(gpus: Sequence[GpuUse]) -> GpuUse:
    energies_j = [gpu.energy_j for gpu in gpus if gpu.energy_j is not None]
    return GpuUse(
        utilisation_percent=mean_of_known([gpu.utilisation_percent for gpu in gpus]),
        memory_bytes=max(gpu.memory_bytes for gpu in gpus),
        power_w=mean_of_known([gpu.power_w for gpu in gpus]),
        energy_j=sum(energies_j) if energies_j else None,
        temperature_c=most_of_known([gpu.temperature_c for gpu in gpus]),
        sm_clock_mhz=mean_of_known([gpu.sm_clock_mhz for gpu in gpus]),
        slowed_by=_lasting([gpu.slowed_by for gpu in gpus]),
    )


def _lasting(reasons: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the reasons of at least a tenth of the moments: a GPU near its limit touches it now and then."""
    moments = Counter(reason for moment in reasons for reason in set(moment))
    return tuple(reason for reason, count in moments.items() if count >= _LASTING_SHARE * len(reasons))

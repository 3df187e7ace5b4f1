"""CPU, memory and GPU of a process and its children while a measurement runs."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import fmean
from types import TracebackType
from typing import Self

import psutil
import pynvml

from perfgate.errors import MeasurementError
from perfgate.gpus import Gpu, GpuReading, open_gpus, read_gpu
from perfgate.records import GpuUse, Telemetry

_INTERVAL_S = 0.5


class TelemetrySampler:
    """A context manager that owns its thread; afterwards `record` holds what the block used.

    Parameters
    ----------
    pid:
        The process whose tree is observed.
    """

    record: Telemetry

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="telemetry", daemon=True)
        self._open = ExitStack()
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._memory_bytes: list[int] = []
        self._gpu_readings: list[tuple[GpuReading, ...]] = []
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._gpus: Sequence[Gpu] = self._open.enter_context(open_gpus())
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
        with self._open:
            if error is not None:
                return
            if self._error is None:
                self._sample()
            elapsed_s = time.monotonic() - self._start_s
            if self._error is not None:
                raise MeasurementError(f"telemetry failed: {self._error}") from self._error
            used_s = sum(total - self._start_cpu_s.get(key, 0.0) for key, total in self._cpu_s.items())
            self.record = Telemetry(
                cpu_cores=used_s / elapsed_s, memory_bytes=max(self._memory_bytes), gpu=self._gpu_use()
            )

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        try:
            memory_bytes = 0
            for process in self._tree():
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        self._cpu_s[process.pid, process.create_time()] = times.user + times.system
                        memory_bytes += process.memory_info().rss
                except psutil.NoSuchProcess:
                    pass  # it ended since the tree was listed; its CPU time up to the last sample counts
            self._memory_bytes.append(memory_bytes)
            if self._gpus:
                self._gpu_readings.append(tuple(read_gpu(gpu) for gpu in self._gpus))
        except (psutil.Error, pynvml.NVMLError) as error:
            self._error = error
            self._stop.set()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _gpu_use(self) -> GpuUse | None:
        if not self._gpu_readings:
            return None
        first, last = self._gpu_readings[0], self._gpu_readings[-1]
        utilisations = [gpu.utilisation_percent for reading in self._gpu_readings for gpu in reading]
        powers = [[gpu.power_w for gpu in reading] for reading in self._gpu_readings]
        energies = [(start.energy_j, end.energy_j) for start, end in zip(first, last, strict=True)]
        return GpuUse(
            utilisation_percent=_mean([value for value in utilisations if value is not None]),
            memory_bytes=max(sum(gpu.memory_bytes for gpu in reading) for reading in self._gpu_readings),
            power_w=_mean([sum(value for value in power if value is not None) for power in powers])
            if all(value is not None for power in powers for value in power)
            else None,
            energy_j=sum(end - start for start, end in energies if start is not None and end is not None)
            if all(start is not None and end is not None for start, end in energies)
            else None,
        )


def combine(records: Sequence[Telemetry]) -> Telemetry:
    """Equally long stretches as one; at least one."""
    gpus = [record.gpu for record in records if record.gpu is not None]
    return Telemetry(
        cpu_cores=fmean(record.cpu_cores for record in records),
        memory_bytes=max(record.memory_bytes for record in records),
        gpu=_combine_gpus(gpus) if gpus else None,
    )


def _combine_gpus(gpus: Sequence[GpuUse]) -> GpuUse:
    powers_w = [gpu.power_w for gpu in gpus if gpu.power_w is not None]
    energies_j = [gpu.energy_j for gpu in gpus if gpu.energy_j is not None]
    return GpuUse(
        utilisation_percent=_mean([gpu.utilisation_percent for gpu in gpus if gpu.utilisation_percent is not None]),
        memory_bytes=max(gpu.memory_bytes for gpu in gpus),
        power_w=_mean(powers_w),
        energy_j=sum(energies_j) if energies_j else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None

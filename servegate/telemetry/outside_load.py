"""Measure the CPU time of other programs during a run: the machine's CPU time less that of the run's own processes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from servegate.records import MachineLoad

# Linux counts the CPU time of each process in ticks of 10 ms. Over a shorter time than this their errors add up.
_LEAST_S = 0.5
# irq and softirq are left out: our own packets cause most of that time, and Linux charges it to no process.
_BUSY = ("user", "nice", "system", "steal")


@dataclass(frozen=True)
class CpuReading:
    """The CPU-seconds that the machine and the run's own processes have used so far.

    Attributes
    ----------
    at_s:
        The time of the reading on the monotonic clock.
    machine_s:
        CPU-seconds of all programs on the cores that this process may use.
    own_s:
        CPU-seconds of this process and of all processes that it has started, including those that have ended.
    """

    at_s: float
    machine_s: float
    own_s: float

    def outside_cores_since(self, earlier: "CpuReading") -> float:
        """Compute the CPU-seconds per second that other programs have used since the earlier reading."""
        elapsed_s = self.at_s - earlier.at_s
        outside_s = (self.machine_s - earlier.machine_s) - (self.own_s - earlier.own_s)
        return max(0.0, outside_s / elapsed_s)


def read_cpu() -> CpuReading:
    """Read both CPU times now. This takes a few ms, because psutil goes through all processes of the machine."""
    return CpuReading(time.monotonic(), _read_machine_s(), _read_own_s())


class OutsideLoad:
    """Measures the CPU time of other programs: before the first measurement, and then during each measurement."""

    def __init__(self) -> None:
        self._began = read_cpu()
        self._before_cores: float | None = None
        # For each `watch`: its duration in seconds, and the cores that other programs used during it.
        self._watched: list[tuple[float, float]] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Measure during the `with` block, in which none of the measured processes may end.

        If a process ends after its parent, its CPU time is lost to us, and it would count as that of other programs.
        """
        start = read_cpu()
        if not self._watched and self._before_cores is None and start.at_s - self._began.at_s >= _LEAST_S:
            self._before_cores = start.outside_cores_since(self._began)
        yield
        end = read_cpu()
        if end.at_s - start.at_s >= _LEAST_S:
            self._watched.append((end.at_s - start.at_s, end.outside_cores_since(start)))

    @property
    def found(self) -> MachineLoad | None:
        """The load of all watches so far; None while no `watch` has lasted long enough."""
        if not self._watched:
            return None
        seconds = sum(duration_s for duration_s, _ in self._watched)
        return MachineLoad(
            cores=len(_usable_cpus()),
            before_cores=self._before_cores,
            during_cores=sum(duration_s * cores for duration_s, cores in self._watched) / seconds,
            most_cores=max(cores for _, cores in self._watched),
        )


def _usable_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # macOS lacks it
        return sorted(os.sched_getaffinity(0))
    return list(range(psutil.cpu_count() or 1))


def _read_machine_s() -> float:
    by_cpu = psutil.cpu_times(percpu=True)
    usable = [by_cpu[number] for number in _usable_cpus() if number < len(by_cpu)]
    return float(sum(getattr(times, name, 0.0) for times in usable for name in _BUSY))


def _read_own_s() -> float:
    this = psutil.Process()
    total_s = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # children_user and children_system are those of ended children for which the process has waited.
        total_s += times.user + times.system + times.children_user + times.children_system
    return total_s

"""One reading of what a process, its children and the GPUs use."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from perfgate.gpus import Gpu, GpuReading, open_gpus, read_gpu

# Finding a process's children means going through all processes of the machine, far dearer than asking those known.
_CHILDREN_S = 2.0


@dataclass(frozen=True)
class Reading:
    """At one moment.

    Attributes
    ----------
    cpu_s:
        CPU-seconds that each process has used so far, by its id and the time of its start.
    memory_bytes:
        Resident, of all together; shared pages counted in each.
    gpus:
        Each of them.
    """

    cpu_s: Mapping[tuple[int, float], float]
    memory_bytes: int
    gpus: tuple[GpuReading, ...]


class ObservedTree:
    """A process with its children, and the GPUs; see `observe`.

    Attributes
    ----------
    own_cpu_s:
        CPU-seconds that reading has taken so far.
    """

    def __init__(self, pid: int, gpus: Sequence[Gpu]) -> None:
        self.own_cpu_s = 0.0
        self._pid = pid
        self._gpus = gpus
        self._processes: Sequence[psutil.Process] = ()
        self._listed_s = float("-inf")

    def read(self) -> Reading:
        """Ask each; a child that is less than some seconds old may be missing, and counts in full later.

        Raises
        ------
        psutil.Error, pynvml.NVMLError
            When a process or a GPU can't be asked. A process that has ended is left out.
        """
        start_cpu_s = time.thread_time()
        if time.monotonic() > self._listed_s + _CHILDREN_S:
            self._processes, self._listed_s = self._tree(), time.monotonic()
        cpu_s, memory_bytes = {}, 0
        for process in self._processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    cpu_s[process.pid, process.create_time()] = times.user + times.system
                    memory_bytes += process.memory_info().rss
            except psutil.NoSuchProcess:
                self._listed_s = float("-inf")
        reading = Reading(cpu_s, memory_bytes, tuple(read_gpu(gpu) for gpu in self._gpus))
        self.own_cpu_s += time.thread_time() - start_cpu_s
        return reading

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


@contextmanager
def observe(pid: int) -> Iterator[ObservedTree]:
    """A process's tree, with the GPUs open.

    Raises
    ------
    MeasurementError
        See `open_gpus`.
    """
    with open_gpus() as gpus:
        yield ObservedTree(pid, gpus)

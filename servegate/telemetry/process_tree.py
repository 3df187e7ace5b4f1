"""One reading of what a process, its children and the GPUs use."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from servegate.telemetry.gauges import GAUGES
from servegate.telemetry.gpus import Gpu, GpuReading, memory_of_processes, open_gpus, read_gpu

# The names of processes that multiprocessing starts with `python -c`. LitServe spawns its inference workers.
_OF_MULTIPROCESSING = {
    "multiprocessing.spawn": "worker",
    "multiprocessing.forkserver": "fork server",
    "multiprocessing.resource_tracker": "resource tracker",
}
# Finding a process's children means going through all processes of the machine, far dearer than asking those known.
_CHILDREN_S = 2.0


@dataclass(frozen=True)
class UsageReading:
    """At one moment.

    Attributes
    ----------
    cpu_s:
        CPU-seconds that each process has used so far, by its name; see `ProcessTree`.
    gauges:
        The gauges of all processes together, by name; see `servegate.telemetry.gauges`.
    gpus:
        Each of them.
    """

    cpu_s: Mapping[str, float]
    gauges: Mapping[str, float]
    gpus: tuple[GpuReading, ...]


class ProcessTree:
    """A process with its children, and the GPUs; see `observe`.

    Processes are named by the module or script that they run and numbered in the order in which they were found, as in
    `service.server 2`; one that multiprocessing has spawned is a `worker`.

    Attributes
    ----------
    own_cpu_s:
        CPU-seconds that reading has taken so far.
    """

    def __init__(self, pid: int, gpus: Sequence[Gpu]) -> None:
        self.own_cpu_s = 0.0
        self._pid = pid
        self._gpus = gpus
        self._processes: list[tuple[str, psutil.Process]] = []
        self._names: dict[psutil.Process, str] = {}
        self._listed_s = float("-inf")

    @property
    def has_gpu(self) -> bool:
        """Whether there is a GPU that the process may use."""
        return bool(self._gpus)

    def read(self) -> UsageReading:
        """Ask each; a child that is less than some seconds old may be missing, and counts in full later.

        Raises
        ------
        psutil.Error, pynvml.NVMLError
            When a process or a GPU can't be asked. A process that has ended is left out.
        """
        start_cpu_s = time.thread_time()
        if time.monotonic() > self._listed_s + _CHILDREN_S:
            self._list()
        cpu_s, gauges = {}, dict.fromkeys((gauge.name for gauge in GAUGES), 0.0)
        for name, process in self._processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    cpu_s[name] = times.user + times.system
                    levels = {gauge.name: gauge.read(process) for gauge in GAUGES}
                for gauge_name, level in levels.items():
                    gauges[gauge_name] += level
            except psutil.NoSuchProcess:
                self._listed_s = float("-inf")
        reading = UsageReading(cpu_s, gauges, tuple(read_gpu(gpu) for gpu in self._gpus))
        self.own_cpu_s += time.thread_time() - start_cpu_s
        return reading

    def memory_bytes(self) -> float | None:
        """The memory of all processes together, of the host and of the GPUs; None where Linux doesn't tell.

        A page that some share is counted once. This proportional set size takes milliseconds to read for each process,
        so no sampler reads it.

        Raises
        ------
        MeasurementError
            When a GPU is lost.
        """
        self._list()
        processes = {process.pid for _, process in self._processes}
        total = float(sum(memory_of_processes(gpu, processes) for gpu in self._gpus))
        for _, process in self._processes:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
            except (psutil.AccessDenied, AttributeError):
                return None
        return total

    def _list(self) -> None:
        self._processes, self._listed_s = [], time.monotonic()
        for process in _tree(self._pid):
            try:
                if process not in self._names and _is_starting(process):
                    self._listed_s = float("-inf")
                else:
                    self._processes.append((self._name(process), process))
            except psutil.NoSuchProcess:
                continue

    def _name(self, process: psutil.Process) -> str:
        if process not in self._names:
            program = _program(process)
            others = sum(name.rpartition(" ")[0] == program for name in self._names.values())
            self._names[process] = f"{program} {others + 1}"
        return self._names[process]


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _is_starting(process: psutil.Process) -> bool:
    """Whether the process is so new that the kernel doesn't have its command line yet, from which we take its name."""
    try:
        return not process.cmdline() and time.time() < process.create_time() + _CHILDREN_S
    except psutil.AccessDenied:
        return False


def _program(process: psutil.Process) -> str:
    """Name the program: the module or script of Python, the module that its `-c` code imports, or the executable."""
    try:
        _, *arguments = process.cmdline() or [""]
    except psutil.Error:
        arguments = []
    for option, value in pairwise([*arguments, ""]):
        if option == "-m":
            return value
        if option == "-c":
            origin = re.match(r"(?:from|import) ([\w.]+)", value)
            return _OF_MULTIPROCESSING.get(origin[1], origin[1].partition(".")[0]) if origin else "-c"
        if not option.startswith("-"):
            return Path(option).name
    return process.name()


@contextmanager
def observe(pid: int) -> Iterator[ProcessTree]:
    """A process's tree, with the GPUs open.

    Raises
    ------
    MeasurementError
        See `open_gpus`.
    """
    with open_gpus() as gpus:
        yield ProcessTree(pid, gpus)

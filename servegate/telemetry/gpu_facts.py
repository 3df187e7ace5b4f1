"""Facts of the GPUs that bound their speed, and the processes of others that share them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil
import pynvml

from servegate.errors import MeasurementError
from servegate.telemetry.gpus import NOT_REPORTED, Gpu, open_gpus

_ON = {0: "off", 1: "on"}
_COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
FACTS: Mapping[str, Callable[[Any], str]] = {
    "power limit": lambda gpu: f"{pynvml.nvmlDeviceGetPowerManagementLimit(gpu) / 1e3:g} W",
    "highest SM clock": lambda gpu: f"{pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM)} MHz",
    "MIG": lambda gpu: _ON[pynvml.nvmlDeviceGetMigMode(gpu)[0]],
    "ECC": lambda gpu: _ON[pynvml.nvmlDeviceGetEccMode(gpu)[0]],
    "persistence mode": lambda gpu: _ON[pynvml.nvmlDeviceGetPersistenceMode(gpu)],
    "compute mode": lambda gpu: _COMPUTE_MODES[pynvml.nvmlDeviceGetComputeMode(gpu)],
    "PCIe lanes": lambda gpu: str(pynvml.nvmlDeviceGetCurrPcieLinkWidth(gpu)),
}
"""The facts that a run records of each GPU, by name, and the calls that read them in words; NVML may refuse each.

The generation of the PCIe link is left out, because it falls while the GPU is idle.
"""


def describe_gpus(gpus: tuple[Gpu, ...]) -> dict[str, str]:
    """Read the limits and modes of the GPUs by name, as in {"GPU power limit": "300 W"}.

    A fact that no GPU reports has no entry; where GPUs differ, each is told.

    Raises
    ------
    MeasurementError
        When a GPU can't be read, as one that is lost.
    """
    described = {}
    for name, read in FACTS.items():
        values = [value for gpu in gpus if (value := _optional(read, gpu.handle)) is not None]
        if values:
            described[f"GPU {name}"] = values[0] if len(set(values)) == 1 else ", ".join(values)
    return described


def tell_other_processes() -> Iterator[str]:
    """Say for each GPU which processes compute on it already; nothing where there are none.

    Raises
    ------
    MeasurementError
        For the same reasons as `open_gpus` and `describe_gpus`.
    """
    with open_gpus() as gpus:
        for gpu in gpus:
            processes = _optional(pynvml.nvmlDeviceGetComputeRunningProcesses, gpu.handle) or []
            if processes:
                named = ", ".join(sorted(_name(process.pid) for process in processes))
                yield (
                    f"before anything was measured, {len(processes)} other process{'es' if len(processes) > 1 else ''} "
                    f"computed on the GPU {gpu.name}: {named}; figures are calmer on a GPU of one's own"
                )


def _name(pid: int) -> str:
    """Name a process; in a container NVML may tell a number that only the host knows."""
    try:
        return f"{psutil.Process(pid).name()} ({pid})"
    except psutil.Error:
        return f"process {pid}"


def _optional(read: Callable[[Any], Any], handle: Any) -> Any:
    """Read a fact; None where the driver tells none. It takes some facts of a part of a GPU for invalid arguments."""
    try:
        return read(handle)
    except (*NOT_REPORTED, pynvml.NVMLError_InvalidArgument):
        return None
    except pynvml.NVMLError as error:
        raise MeasurementError(f"NVML can't read a GPU: {error}") from error

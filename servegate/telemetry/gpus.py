"""The GPUs that the measured processes use, through NVML. Without a driver there are none."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from servegate.errors import MeasurementError


@dataclass(frozen=True)
class Gpu:
    """One GPU. `handle` is valid while `open_gpus` is open."""

    name: str
    uuid: str
    handle: Any


# Why a GPU runs slower than it could, where that makes a measurement worthless. A software power cap is normal under
# load, as is an idle GPU's low clock.
_SLOWDOWNS = {
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "software thermal slowdown",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware thermal slowdown",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}
# What a device may refuse to report.
NOT_REPORTED = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLError_FunctionNotFound,
)


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment; what the device doesn't report is None (under MIG there is no utilisation).

    Attributes
    ----------
    slowed_by:
        Heat or power brake, by name.
    """

    utilisation_percent: float | None
    memory_bytes: int
    power_w: float | None
    energy_j: float | None
    temperature_c: float | None
    sm_clock_mhz: float | None
    slowed_by: tuple[str, ...]


@contextmanager
def open_gpus() -> Iterator[tuple[Gpu, ...]]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, all if it isn't set; NVML itself ignores the variable.

    An entry is a UUID, of a GPU or of a part of one (MIG), or an index; indices are taken as NVML counts (by PCI bus),
    which is CUDA's order too where all GPUs are alike or CUDA_DEVICE_ORDER is PCI_BUS_ID.

    Raises
    ------
    MeasurementError
        When there is a driver, but NVML doesn't work, as without permission, or a GPU is lost.
    """
    with _nvml() as is_there:
        try:
            gpus = tuple(_visible_gpus()) if is_there else ()
        except pynvml.NVMLError as error:
            raise MeasurementError(f"NVML can't tell which GPUs there are: {error}") from error
        yield gpus


def read_gpu(gpu: Gpu) -> GpuReading:
    """Ask the GPU once.

    Raises
    ------
    pynvml.NVMLError
        When the GPU is lost.
    """
    return GpuReading(
        utilisation_percent=_optional(lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu.handle).gpu, 1),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(gpu.handle).used),
        power_w=_optional(lambda: pynvml.nvmlDeviceGetPowerUsage(gpu.handle), 1e-3),
        energy_j=_optional(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle), 1e-3),
        temperature_c=_optional(lambda: pynvml.nvmlDeviceGetTemperature(gpu.handle, pynvml.NVML_TEMPERATURE_GPU), 1),
        sm_clock_mhz=_optional(lambda: pynvml.nvmlDeviceGetClockInfo(gpu.handle, pynvml.NVML_CLOCK_SM), 1),
        slowed_by=_slowed_by(gpu),
    )


def memory_of_processes(gpu: Gpu, processes: Collection[int]) -> int:
    """The bytes of a GPU's memory that processes have; 0 where the driver doesn't tell.

    In a container the driver may tell the numbers that the processes have on the host, which are hardly ever these.

    Parameters
    ----------
    processes:
        Their ids.

    Raises
    ------
    MeasurementError
        When the GPU is lost.
    """
    try:
        found = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
    except (*NOT_REPORTED, pynvml.NVMLError_InvalidArgument):
        return 0
    except pynvml.NVMLError as error:
        raise MeasurementError(f"NVML can't read a GPU: {error}") from error
    return sum(process.usedGpuMemory or 0 for process in found if process.pid in processes)


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None without a driver.

    Raises
    ------
    MeasurementError
        For the same reasons as `open_gpus`.
    """
    with _nvml() as is_there:
        if not is_there:
            return None
        version: str = pynvml.nvmlSystemGetDriverVersion()
        return version


@contextmanager
def _nvml() -> Iterator[bool]:
    """Start NVML for the context; yields False if there is no driver."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        yield False
        return
    except pynvml.NVMLError_LibRmVersionMismatch as error:
        raise MeasurementError(
            f"the NVIDIA driver was updated, so NVML does not start ({error}); restart the machine, or unload and load "
            "the driver's kernel modules"
        ) from error
    except pynvml.NVMLError as error:
        raise MeasurementError(f"there is an NVIDIA driver, but NVML does not start: {error}") from error
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _visible_gpus() -> Iterator[Gpu]:
    """Read CUDA_VISIBLE_DEVICES as CUDA does: an entry that names no GPU, or a part of one, hides all entries after it.

    The service of this repository has the same reading of it: servegate and the service never import each other.
    """
    gpus = [_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        yield from gpus
        return
    seen: set[int] = set()
    for entry in filter(None, map(str.strip, visible.split(","))):
        if entry.startswith("MIG-"):
            yield _gpu(pynvml.nvmlDeviceGetHandleByUUID(entry))
            return
        named = [int(entry)] if entry.isdecimal() else [n for n, gpu in enumerate(gpus) if gpu.uuid.startswith(entry)]
        if not named or named[0] >= len(gpus) or named[0] in seen:
            return
        seen.add(named[0])
        yield gpus[named[0]]


def _gpu(handle: Any) -> Gpu:
    return Gpu(pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle), handle)


def _slowed_by(gpu: Gpu) -> tuple[str, ...]:
    reasons = _optional(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu.handle), 1)
    return tuple(name for bit, name in _SLOWDOWNS.items() if int(reasons or 0) & bit)


def _optional(read: Any, scale: float) -> float | None:
    try:
        return float(read()) * scale
    except NOT_REPORTED:
        return None

"""The GPUs that the measured processes use, through NVML. Without a driver there are none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml

from perfgate.errors import MeasurementError


@dataclass(frozen=True)
class Gpu:
    """One GPU. `handle` is valid while `open_gpus` is open."""

    name: str
    uuid: str
    handle: Any


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one moment; what the device doesn't report is None (under MIG there is no utilisation)."""

    utilisation_percent: float | None
    memory_bytes: int
    power_w: float | None
    energy_j: float | None


@contextmanager
def open_gpus() -> Iterator[tuple[Gpu, ...]]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, all if it isn't set; NVML itself ignores the variable.

    An entry is a UUID or an index; indices are taken as NVML counts (by PCI bus), which is CUDA's order too where all
    GPUs are alike or CUDA_DEVICE_ORDER is PCI_BUS_ID.

    Raises
    ------
    MeasurementError
        When a GPU is lost.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield ()
        return
    try:
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            gpus = [Gpu(pynvml.nvmlDeviceGetName(item), pynvml.nvmlDeviceGetUUID(item), item) for item in handles]
        except pynvml.NVMLError as error:
            raise MeasurementError(f"NVML can't tell which GPUs there are: {error}") from error
        yield tuple(gpu for index, gpu in enumerate(gpus) if _is_visible(index, gpu.uuid))
    finally:
        pynvml.nvmlShutdown()


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
    )


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        version: str = pynvml.nvmlSystemGetDriverVersion()
        return version
    finally:
        pynvml.nvmlShutdown()


def _is_visible(index: int, uuid: str) -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return True
    entries = [entry.strip() for entry in visible.split(",") if entry.strip()]
    return any(entry == str(index) if entry.isdecimal() else uuid.startswith(entry) for entry in entries)


def _optional(read: Any, scale: float) -> float | None:
    try:
        return float(read()) * scale
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
        return None

"""Driver, GPUs, and what compiling needs: CUDA's headers, a linker, Python's headers, shared memory."""

import os
import platform
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pynvml
import torch

from servegate.telemetry.gpu_facts import FACTS
from service.gpus import GpuError, count_usable_gpus
from service.model.cache import CompileError
from service.model.cuda_toolkit import toolkit_environment
from tools.gpu_check.steps import Row

# Facts of a GPU besides those that the gate records, and the calls that read them; NVML may refuse each.
_FACTS: dict[str, Callable[[object], object]] = {
    "name": pynvml.nvmlDeviceGetName,
    "uuid": pynvml.nvmlDeviceGetUUID,
    "capability": pynvml.nvmlDeviceGetCudaComputeCapability,
    "memory MiB": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).total >> 20,
    "PCIe generation": pynvml.nvmlDeviceGetCurrPcieLinkGeneration,
    "other processes": lambda gpu: len(pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)),
}


def rows() -> Iterator[Row]:
    """Yield rows for the machine, for each GPU, and for each thing that compiling needs."""
    yield {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch's CUDA": str(torch.version.cuda),
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "not set"),
    }
    yield from _gpus()
    try:
        yield {"GPUs that the service counts": count_usable_gpus()}
    except GpuError as error:
        yield {"GPUs that the service counts": f"none: {error}"}
    yield {"torch can use a GPU": torch.cuda.is_available()}
    yield _toolkit()
    yield {
        "g++": shutil.which("g++") or "missing: apt install g++",
        "nvcc": shutil.which("nvcc") or "missing, which is fine",
        "Python.h": (Path(sysconfig.get_path("include")) / "Python.h").exists(),
    }
    shm = shutil.disk_usage("/dev/shm")
    yield {"/dev/shm MiB": shm.total >> 20, "of these free": shm.free >> 20}


def _gpus() -> Iterator[Row]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield {"NVML": str(error)}
        return
    yield {
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "its CUDA": _ask(pynvml.nvmlSystemGetCudaDriverVersion_v2),
    }
    for index in range(pynvml.nvmlDeviceGetCount()):
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        yield {"GPU": index, **{name: _ask(partial(read, gpu)) for name, read in {**_FACTS, **FACTS}.items()}}
    pynvml.nvmlShutdown()


def _ask(read: Callable[[], object]) -> object:
    try:
        return read()
    except pynvml.NVMLError as error:
        return str(error)


def _toolkit() -> Row:
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # loads the driver's library
    with tempfile.TemporaryDirectory() as scratch:
        try:
            variables = toolkit_environment(Path(scratch), str(torch.version.cuda))
        except CompileError as error:
            return {"CUDA to compile with": f"missing: {error}"}
    return {"CUDA to compile with": variables["CUDA_HOME"]}

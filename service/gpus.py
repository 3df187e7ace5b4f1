"""The GPUs that CUDA may use, found through NVML: the server's main process loads neither torch nor CUDA.

Unlike LitServe, which compares `CUDA_VISIBLE_DEVICES` with the output of `nvidia-smi -L`, this counts GPUs that the
variable names by UUID, parts of GPUs (MIG), and indices with spaces between them.
"""

import os
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pynvml

_NO_DRIVER = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)
_NOT_REPORTED = (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_InvalidArgument)
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes: the oldest driver of each CUDA, and the oldest GPUs that its
# compiler still makes code for (13: Turing).
_OLDEST_DRIVER = {12: "525", 13: "580"}
_OLDEST_CAPABILITY = {12: (5, 0), 13: (7, 5)}


class GpuError(Exception):
    """There is a GPU or a driver, and torch can't use it; the message says why and what to do."""


def count_usable_gpus() -> int:
    """Count the GPUs that `CUDA_VISIBLE_DEVICES` leaves, all if it isn't set; 0 without an NVIDIA driver.

    An entry of the variable is a UUID or its beginning, of a GPU or of a part of one (MIG), or an index.

    Raises
    ------
    GpuError
        When the driver doesn't work, or driver or GPU are too old for the CUDA that torch was built with.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    with _nvml() as is_there:
        try:
            gpus = list(_visible_gpus()) if is_there else []
        except pynvml.NVMLError as error:
            raise GpuError(f"NVML can't tell which GPUs there are ({error}); `nvidia-smi -L` lists them") from error
        if gpus:
            cuda = _cuda_of_torch()
            _check_driver(cuda)
            for gpu in gpus:
                _check_capability(gpu, cuda)
        return len(gpus)


@contextmanager
def _nvml() -> Iterator[bool]:
    """NVML while the context lasts; False where there is no driver."""
    try:
        pynvml.nvmlInit()
    except _NO_DRIVER:
        yield False
        return
    except pynvml.NVMLError_LibRmVersionMismatch as error:
        raise GpuError(
            f"the NVIDIA driver was updated, and the kernel still runs the one before ({error}); restart the machine, "
            "or unload and load the driver's kernel modules"
        ) from error
    except pynvml.NVMLError as error:
        raise GpuError(f"there is an NVIDIA driver, but it does not start ({error}); see `nvidia-smi`") from error
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def _visible_gpus() -> Iterator[Any]:
    """Read the variable as CUDA does: an entry that names no GPU, or a part of one, hides all entries after it.

    `servegate.telemetry.gpus` has the same reading of it: servegate and the service never import each other.
    """
    gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        yield from gpus
        return
    uuids = [pynvml.nvmlDeviceGetUUID(gpu) for gpu in gpus]
    seen: set[int] = set()
    for entry in filter(None, map(str.strip, visible.split(","))):
        if entry.startswith("MIG-"):
            yield pynvml.nvmlDeviceGetHandleByUUID(entry)
            return
        named = [int(entry)] if entry.isdecimal() else [n for n, uuid in enumerate(uuids) if uuid.startswith(entry)]
        if not named or named[0] >= len(gpus) or named[0] in seen:
            return
        seen.add(named[0])
        yield gpus[named[0]]


def _cuda_of_torch() -> int:
    """Read for which CUDA torch was built, without importing it."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise GpuError("torch is not installed")
    version = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    if version is None:
        raise GpuError("there is a GPU, but torch was installed without CUDA; install the build that PyPI has")
    return int(version.split(".")[0])


def _check_driver(cuda: int) -> None:
    """Refuse a driver that is older than torch's CUDA."""
    try:
        driver_cuda: int = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    except pynvml.NVMLError as error:
        raise GpuError(
            f"there is a GPU, but not the driver's library libcuda.so.1 ({error}); in a container, let "
            "NVIDIA_DRIVER_CAPABILITIES hold `compute`"
        ) from error
    if driver_cuda // 1000 < cuda:
        raise GpuError(
            f"the NVIDIA driver {pynvml.nvmlSystemGetDriverVersion()} is for CUDA {driver_cuda // 1000}, and torch was "
            f"built for CUDA {cuda}; install driver {_OLDEST_DRIVER.get(cuda, 'for it')} or newer"
        )


def _check_capability(gpu: Any, cuda: int) -> None:
    """Refuse a GPU for which this CUDA makes no code."""
    try:
        capability = tuple(pynvml.nvmlDeviceGetCudaComputeCapability(gpu))
    except _NOT_REPORTED:
        return  # a part of a GPU; those that have parts are new enough
    oldest = _OLDEST_CAPABILITY.get(cuda, (0, 0))
    if capability < oldest:
        raise GpuError(
            f"{pynvml.nvmlDeviceGetName(gpu)} has compute capability {capability[0]}.{capability[1]}, and CUDA {cuda} "
            f"needs {oldest[0]}.{oldest[1]}; leave it out by CUDA_VISIBLE_DEVICES"
        )

"""Find CUDA for the compilers of a GPU's code: its headers, and a libcuda.so to link with.

torch looks for an installed toolkit. Where there is none, the packages that torch itself needs have nearly all of it,
in a folder of their own; two small packages have the rest.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from service.model.cache import CompileError

_MAPS = Path("/proc/self/maps")
# Headers that others include, and the package that has each.
_HEADERS = {
    "cuda_runtime.h": "nvidia-cuda-runtime",
    "crt/host_defines.h": "nvidia-cuda-crt",
    "nv/target": "nvidia-cuda-cccl",
}


def toolkit_environment(scratch: Path, cuda: str) -> dict[str, str]:
    """Make the variables by which a compiler process finds CUDA; none where a toolkit is installed.

    Parameters
    ----------
    scratch:
        A folder for a link to the driver's library. This process must have loaded that.
    cuda:
        The version of CUDA that torch was built with, as in 13.0.

    Raises
    ------
    CompileError
        When something is missing; the message says what to install.
    """
    if os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or shutil.which("nvcc"):
        return {}
    home = _folder_of_packages(cuda)
    missing = [package for header, package in _HEADERS.items() if not (home / "include" / header).exists()]
    if missing:
        wanted = " ".join(f"'{package}=={cuda}.*'" for package in missing)
        raise CompileError(
            f"{home}/include lacks headers of CUDA; pip install {wanted}, or install the CUDA toolkit {cuda} and set "
            "CUDA_HOME"
        )
    link = scratch / "libcuda.so"
    link.symlink_to(_libcuda())
    before = os.environ.get("LIBRARY_PATH")
    return {"CUDA_HOME": str(home), "LIBRARY_PATH": os.pathsep.join(filter(None, [str(scratch), before]))}


def _folder_of_packages(cuda: str) -> Path:
    name = f"cu{cuda.split('.')[0]}"
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (home := Path(folder, name)).is_dir():
            return home
    raise CompileError(f"there is no CUDA toolkit; install version {cuda} and set CUDA_HOME")


def _libcuda() -> Path:
    """Find the driver's library, which has the name of its version alone where no toolkit is installed."""
    for line in _MAPS.read_text().splitlines():
        path = line.split(maxsplit=5)[5:]
        if path and Path(path[0]).name.startswith("libcuda.so"):
            return Path(path[0])
    raise CompileError("the driver's library libcuda.so.1 is not loaded")

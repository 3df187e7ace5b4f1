"""Find CUDA for the compilers of a GPU's code: its headers, and a libcuda.so to link with.

torch looks for an installed toolkit. Where there is none, or one without headers as in images that only run programs,
the packages of requirements.lock have them. Those share one folder, or two where a virtual environment adds packages to
the image's torch.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from service.model.cache import CompileError

_MAPS = Path("/proc/self/maps")
_USUAL_PLACE = Path("/usr/local/cuda")
_RUNTIME = "cuda_runtime.h"
# Headers that others include, and the package that has each.
_HEADERS = {
    _RUNTIME: "nvidia-cuda-runtime",
    "crt/host_defines.h": "nvidia-cuda-crt",
    "nv/target": "nvidia-cuda-cccl",
}


def toolkit_environment(scratch: Path, cuda: str) -> dict[str, str]:
    """Make the variables by which a compiler process finds CUDA.

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
    packages = _folders_of_packages(cuda)
    folders = next((places for places in _places(packages) if not _missing_packages(places)), None)
    if folders is None:
        raise CompileError(_explain_missing(packages, cuda))
    home = next(folder for folder in folders if _has(folder, _RUNTIME))
    (scratch / "libcuda.so").symlink_to(_libcuda())
    return {
        "CUDA_HOME": str(home),
        **_prepend("CPATH", [folder / "include" for folder in folders if folder != home]),
        **_prepend("LIBRARY_PATH", [scratch]),
    }


def _places(packages: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Yield the folders that may hold CUDA together: where torch looks, but the packages before the usual place.

    The first three are the choice of the machine's owner. The packages have the version of torch's own CUDA.
    """
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if chosen := os.environ.get(variable):
            yield [Path(chosen)]
    if nvcc := shutil.which("nvcc"):
        yield [Path(nvcc).resolve().parents[1]]
    yield packages
    yield [_USUAL_PLACE]


def _folders_of_packages(cuda: str) -> list[Path]:
    """Find the folders that the packages of this CUDA have installed headers in."""
    name = f"cu{cuda.split('.')[0]}"
    spec = find_spec("nvidia")
    folders = (Path(folder, name) for folder in (spec.submodule_search_locations if spec else None) or ())
    return [folder for folder in folders if (folder / "include").is_dir()]


def _has(folder: Path, header: str) -> bool:
    return (folder / "include" / header).exists()


def _missing_packages(folders: Sequence[Path]) -> list[str]:
    """List the packages whose headers are in none of the folders."""
    return [name for header, name in _HEADERS.items() if not any(_has(folder, header) for folder in folders)]


def _explain_missing(packages: Sequence[Path], cuda: str) -> str:
    if not packages:
        return f"there is no CUDA toolkit with headers; install version {cuda} and set CUDA_HOME"
    wanted = " ".join(f"'{name}=={cuda}.*'" for name in _missing_packages(packages))
    return (
        f"{packages[0]}/include lacks headers of CUDA; pip install {wanted}, as requirements.lock has them, or install "
        f"the CUDA toolkit {cuda} and set CUDA_HOME"
    )


def _prepend(variable: str, folders: Sequence[Path]) -> dict[str, str]:
    """Put folders before those that a variable of the environment names; nothing without any."""
    before = filter(None, [os.environ.get(variable)])
    return {variable: os.pathsep.join([*map(str, folders), *before])} if folders else {}


def _libcuda() -> Path:
    """Find the driver's library, which has the name of its version alone where no toolkit is installed."""
    for line in _MAPS.read_text().splitlines():
        path = line.split(maxsplit=5)[5:]
        if path and Path(path[0]).name.startswith("libcuda.so"):
            return Path(path[0])
    raise CompileError("the driver's library libcuda.so.1 is not loaded")

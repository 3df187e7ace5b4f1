"""A compiler process finds CUDA without an installed toolkit: headers in torch's packages, a library to link with."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from service.model import cuda_toolkit
from service.model.cache import CompileError
from service.model.cuda_toolkit import toolkit_environment

_CUDA = "13.0"
_DRIVER = ("cuInit", "cuGetErrorString", "cuLaunchKernel", "cuModuleGetFunction", "cuModuleLoad")
_HEADERS = ("cuda_runtime.h", "crt/host_defines.h", "nv/target")


def _make_home(home: Path, *headers: str) -> Path:
    """A folder with headers of these names, empty ones."""
    for header in headers:
        path = home / "include" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return home


@pytest.fixture(autouse=True)
def no_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the one that this machine may have."""
    for name in ("CUDA_HOME", "CUDA_PATH", "CPATH", "LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(cuda_toolkit, "_USUAL_PLACE", Path("/no/cuda"))


@pytest.fixture
def driver(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A libcuda.so.1 that this process has loaded, as torch loads the driver's; there is no libcuda.so."""
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = "".join(f"int {name}(void) {{ return 0; }}\n" for name in _DRIVER)
    command = ["cc", "-x", "c", "-", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    ctypes.CDLL(str(library))


def _use_packages(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setattr(cuda_toolkit, "_folders_of_packages", lambda _: list(folders))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with all headers."""
    home = _make_home(tmp_path / "cu13", *_HEADERS)
    _use_packages(monkeypatch, home)
    return home


@pytest.mark.parametrize("place", ["CUDA_HOME", "CUDA_PATH", "nvcc"])
def test_an_installed_toolkit_is_taken(
    place: str, packages: Path, driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one that the machine's owner has chosen."""
    home = _make_home(tmp_path / "installed", *_HEADERS)
    if place == "nvcc":
        monkeypatch.setattr(shutil, "which", lambda program: f"{home}/bin/{program}")
    else:
        monkeypatch.setenv(place, str(home))
    assert toolkit_environment(tmp_path, _CUDA)["CUDA_HOME"] == str(home)


def test_a_toolkit_without_headers_is_passed_over(
    packages: Path, driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that only run programs have such a one, and `nvcc` may be a script that lies elsewhere."""
    monkeypatch.setenv("CUDA_HOME", str(_make_home(tmp_path / "runtime", "cuda_runtime.h")))
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/local/bin/{program}")
    assert toolkit_environment(tmp_path, _CUDA)["CUDA_HOME"] == str(packages)


def test_packages_may_lie_in_two_folders(driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a virtual environment adds them to the torch of an image; the usual place is older than torch."""
    monkeypatch.setattr(cuda_toolkit, "_USUAL_PLACE", _make_home(tmp_path / "usual", *_HEADERS))
    added, image = _make_home(tmp_path / "added", *_HEADERS[1:]), _make_home(tmp_path / "image", _HEADERS[0])
    _use_packages(monkeypatch, added, image)
    monkeypatch.setenv("CPATH", "/opt/include")
    variables = toolkit_environment(tmp_path, _CUDA)
    assert variables["CUDA_HOME"] == str(image)
    assert variables["CPATH"] == f"{added}/include:/opt/include"


def test_the_usual_place_is_the_last(driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package is missing."""
    _use_packages(monkeypatch, _make_home(tmp_path / "cu13", _HEADERS[0]))
    monkeypatch.setattr(cuda_toolkit, "_USUAL_PLACE", _make_home(tmp_path / "usual", *_HEADERS))
    assert toolkit_environment(tmp_path, _CUDA)["CUDA_HOME"] == str(tmp_path / "usual")


@pytest.mark.parametrize(
    ("header", "package"), [("crt/host_defines.h", "nvidia-cuda-crt"), ("nv/target", "nvidia-cuda-cccl")]
)
def test_a_missing_header_is_told_with_its_package(packages: Path, tmp_path: Path, header: str, package: str) -> None:
    """Torch itself doesn't install these two."""
    (packages / "include" / header).unlink()
    with pytest.raises(CompileError, match=re.escape(f"pip install '{package}==13.0.*', as requirements.lock has")):
        toolkit_environment(tmp_path, _CUDA)


def test_without_packages_a_toolkit_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"there is no CUDA toolkit with headers; install version 99\.0 and set"):
        toolkit_environment(tmp_path, "99.0")


def test_a_program_is_linked_with_the_drivers_library(packages: Path, driver: None, tmp_path: Path) -> None:
    """There is only libcuda.so.1, as on a machine without a toolkit."""
    variables = toolkit_environment(tmp_path, _CUDA)
    calls = 'extern "C" int cuInit(unsigned); int main() { return cuInit(0); }'
    command = ["g++", "-x", "c++", "-", "-o", str(tmp_path / "program"), "-lcuda"]
    alone = subprocess.run(command, input=calls, text=True, capture_output=True, check=False)
    assert "cannot find -lcuda" in alone.stderr
    subprocess.run(command, input=calls, text=True, env={**os.environ, **variables}, check=True)


def test_without_the_drivers_library_nothing_is_compiled(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without the driver's capability `compute` has none."""
    monkeypatch.setattr(cuda_toolkit, "_MAPS", tmp_path / "maps")
    (tmp_path / "maps").write_text(
        "7f00-7f01 r-xp 00000000 08:01 1234    /usr/lib/libm.so.6\n7f02-7f03 rw-p 0 00:00 0\n"
    )
    with pytest.raises(CompileError, match=r"libcuda\.so\.1 is not loaded"):
        toolkit_environment(tmp_path, _CUDA)


# From here on: the headers that requirements.lock installs, those of torch that include them, and g++.

_needs_cuda = pytest.mark.skipif(torch.version.cuda is None, reason="torch was installed without CUDA")
_TORCH = Path(torch.__file__).parent
_HEADER = "#include <torch/csrc/inductor/aoti_include/cuda.h>"


def _preprocess(variables: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Let g++ read all headers of what AOTInductor writes for a GPU."""
    folders = (_TORCH / "include", Path(variables["CUDA_HOME"], "include"))
    command = ["g++", "-E", "-x", "c++", "-std=c++20", "-DUSE_CUDA", *(f"-I{folder}" for folder in folders), "-"]
    environment = {**os.environ, **variables}
    return subprocess.run(command, input=_HEADER, env=environment, capture_output=True, text=True, check=False)


@_needs_cuda
def test_the_locked_packages_have_all_headers(driver: None, tmp_path: Path) -> None:
    """Those that torch's own headers for a GPU include."""
    finished = _preprocess(toolkit_environment(tmp_path, str(torch.version.cuda)))
    assert finished.returncode == 0, finished.stderr
    assert all(f"/{header}" in finished.stdout for header in _HEADERS)


@_needs_cuda
@pytest.mark.parametrize(("folder", "header"), [("crt", "crt/host_defines.h"), ("nv", "nv/target")])
def test_each_package_of_headers_is_needed(
    folder: str, header: str, driver: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one of them nothing is compiled, and a compiler that was started all the same would fail at it."""
    cuda = str(torch.version.cuda)
    without = tmp_path / "cu13"
    (without / "include").mkdir(parents=True)
    for packages in cuda_toolkit._folders_of_packages(cuda):
        for path in (packages / "include").iterdir():
            if path.name != folder:
                (without / "include" / path.name).symlink_to(path)
    _use_packages(monkeypatch, without)
    with pytest.raises(CompileError, match=f"{without}/include lacks headers of CUDA"):
        toolkit_environment(tmp_path, cuda)
    finished = _preprocess({"CUDA_HOME": str(without)})
    assert finished.returncode != 0
    assert f"{header}: No such file or directory" in finished.stderr


# What AOTInductor writes for a GPU around the forward pass, and what that calls.
_SOURCE = f"""
{_HEADER}
#include "{_TORCH / "_inductor/codegen/aoti_runtime/interface.cpp"}"
#include "kernels.h"

void run(void** arguments, cudaStream_t stream) {{
    torch::aot_inductor::AOTICudaGuard guard(0);
    launchKernel(loadKernel(std::string("kernel.cubin"), "kernel", 0), 1, 1, 1, 4, 0, arguments, stream);
}}
"""
_BUILD = """
import sys
from pathlib import Path

from torch._inductor.codegen.cuda.device_op_overrides import CUDADeviceOpOverrides
from torch._inductor.cpp_builder import CppBuilder, CppTorchDeviceOptions

folder = sys.argv[1]
Path(folder, "kernels.h").write_text(CUDADeviceOpOverrides().kernel_driver())
compiling = CppTorchDeviceOptions(device_type="cuda", aot_mode=True, compile_only=True, min_optimize=True)
compiled = CppBuilder("model", f"{folder}/model.cpp", compiling, folder)
compiled.build()
linking = CppTorchDeviceOptions(device_type="cuda", aot_mode=True)
CppBuilder("model", [compiled.get_target_file_path()], linking, folder).build()
"""


@pytest.mark.slow
@_needs_cuda
def test_what_aotinductor_writes_is_compiled_and_linked(driver: None, tmp_path: Path) -> None:
    """By torch's own commands, in a process of its own: torch reads CUDA_HOME when it is imported."""
    variables = toolkit_environment(tmp_path, str(torch.version.cuda))
    (tmp_path / "model.cpp").write_text(_SOURCE)
    environment = {**os.environ, **variables, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _BUILD, str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    wanted = subprocess.run(["readelf", "-d", tmp_path / "model.so"], capture_output=True, text=True, check=True)
    assert {"libcuda.so", "libtorch_cuda.so"} <= set(re.findall(r"NEEDED.*\[(.*)\]", wanted.stdout))

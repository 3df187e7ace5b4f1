"""A compiler process finds CUDA without an installed toolkit: headers in torch's packages, a library to link with."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from service.model import cuda_toolkit
from service.model.cache import CompileError
from service.model.cuda_toolkit import toolkit_environment

_CUDA = "13.0"


@pytest.fixture(autouse=True)
def no_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the one that this machine may have."""
    for name in ("CUDA_HOME", "CUDA_PATH", "LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with all headers, empty ones."""
    for header in ("cuda_runtime.h", "crt/host_defines.h", "nv/target"):
        path = tmp_path / "cu13" / "include" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(cuda_toolkit, "_folder_of_packages", lambda _: tmp_path / "cu13")
    return tmp_path / "cu13"


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CUDA_PATH"])
def test_an_installed_toolkit_is_left_to_torch(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that the machine's owner has chosen."""
    monkeypatch.setenv(variable, "/usr/local/cuda")
    assert toolkit_environment(tmp_path, _CUDA) == {}
    monkeypatch.delenv(variable)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert toolkit_environment(tmp_path, _CUDA) == {}


@pytest.mark.parametrize(
    ("header", "package"), [("crt/host_defines.h", "nvidia-cuda-crt"), ("nv/target", "nvidia-cuda-cccl")]
)
def test_a_missing_header_is_told_with_its_package(packages: Path, tmp_path: Path, header: str, package: str) -> None:
    """Torch's own packages lack these two."""
    (packages / "include" / header).unlink()
    with pytest.raises(CompileError, match=re.escape(f"pip install '{package}==13.0.*', or install the CUDA toolkit")):
        toolkit_environment(tmp_path, _CUDA)


def test_a_program_is_linked_with_the_drivers_library(packages: Path, tmp_path: Path) -> None:
    """There is only libcuda.so.1, as on a machine without a toolkit; here it is a library with one function."""
    (tmp_path / "driver").mkdir()
    library = tmp_path / "driver" / "libcuda.so.1"
    compiler = ["g++", "-x", "c++", "-"]
    source = 'extern "C" int cuInit(unsigned) { return 0; }'
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", str(library)], input=source, text=True, check=True)
    ctypes.CDLL(str(library))  # as torch loads it
    variables = toolkit_environment(tmp_path, _CUDA)
    assert variables["CUDA_HOME"] == str(packages)
    calls = 'extern "C" int cuInit(unsigned); int main() { return cuInit(0); }'
    command = [*compiler, "-o", str(tmp_path / "program"), "-lcuda"]
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


@pytest.mark.skipif(torch.version.cuda is None, reason="torch was installed without CUDA")
def test_torchs_own_packages_are_found() -> None:
    """Where they are, there is the runtime's header."""
    home = cuda_toolkit._folder_of_packages(str(torch.version.cuda))
    assert (home / "include" / "cuda_runtime.h").exists()


def test_without_packages_a_toolkit_is_asked_for() -> None:
    with pytest.raises(
        CompileError, match=re.escape("there is no CUDA toolkit; install version 99.0 and set CUDA_HOME")
    ):
        cuda_toolkit._folder_of_packages("99.0")

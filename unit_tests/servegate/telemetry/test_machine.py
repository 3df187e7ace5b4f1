"""What is recorded of the machine that measures."""

import os
import platform
from pathlib import Path

import pytest

from servegate.telemetry import machine
from servegate.telemetry.machine import read_fingerprint
from unit_tests.builders.nvml.stand_in import DRIVER, StandInGpu, StandInNvml


@pytest.fixture(autouse=True)
def every_gpu_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_this_machine_has_a_class_and_always_the_same() -> None:
    fingerprint = read_fingerprint((), {})
    assert fingerprint.cpu_model
    assert 1 <= fingerprint.usable_cores <= (os.cpu_count() or 1)
    assert fingerprint.machine_class == read_fingerprint(("pytest",), {"seconds a cell": "5"}).machine_class
    assert set(fingerprint.machine_class) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_details_hold_versions_and_settings() -> None:
    details = read_fingerprint(("pytest", "no-such-package"), {"seconds a cell": "5"}).details
    assert details["python"] == platform.python_version()
    assert details["kernel"] == platform.release()
    assert details["pytest"] == pytest.__version__
    assert details["no-such-package"] == "not installed"
    assert details["seconds a cell"] == "5"


@pytest.mark.parametrize(
    ("names", "gpu_name", "gpu_count"),
    [
        (["NVIDIA L4"], "NVIDIA L4", 1),
        (["NVIDIA L4", "NVIDIA L4"], "NVIDIA L4", 2),
        (["NVIDIA L4", "NVIDIA A10G"], "NVIDIA A10G + NVIDIA L4", 2),
        ([], None, 0),
    ],
)
def test_gpus_make_the_class_and_the_driver_does_not(
    nvml: StandInNvml, names: list[str], gpu_name: str | None, gpu_count: int
) -> None:
    nvml.have(*[StandInGpu(name=name) for name in names])
    fingerprint = read_fingerprint((), {})
    assert (fingerprint.gpu_name, fingerprint.gpu_count) == (gpu_name, gpu_count)
    assert fingerprint.details["driver"] == DRIVER
    assert DRIVER not in fingerprint.machine_class


def test_only_the_gpus_that_cuda_may_use_count(nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.have(StandInGpu(name="NVIDIA L4"), StandInGpu(name="NVIDIA A10G"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    fingerprint = read_fingerprint((), {})
    assert (fingerprint.gpu_name, fingerprint.gpu_count) == ("NVIDIA A10G", 1)


@pytest.mark.parametrize(
    ("cpuinfo", "cpu_model"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC: the 2nd\n\nmodel name\t: other\n", "AMD EPYC: the 2nd"),
        (
            "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\nmodel\t\t: 3\n",
            "AMD EPYC (family 26 model 2)",
        ),
        (
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n",
            f"{platform.machine()} (implementer 0x41 part 0xd0c variant 0x3)",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", f"{platform.machine()} (implementer 0x41)"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", platform.processor() or platform.machine()),
        (None, platform.processor() or platform.machine()),
    ],
)
def test_the_cpus_name_is_linuxs_or_else_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, cpu_model: str
) -> None:
    """With its generation, which some names don't tell. Linux on ARM has numbers alone; others have no such file."""
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(machine, "_CPUINFO", file)
    assert read_fingerprint((), {}).cpu_model == cpu_model

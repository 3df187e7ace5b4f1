"""Limits and modes of the GPUs, and who else computes on them, from a stand-in for NVML."""

import os

import psutil
import pynvml
import pytest

from servegate.errors import MeasurementError
from servegate.telemetry.gpu_facts import describe_gpus, tell_other_processes
from servegate.telemetry.gpus import open_gpus
from servegate.telemetry.machine import read_fingerprint
from unit_tests.builders.nvml.stand_in import StandInGpu, StandInNvml
from unit_tests.builders.tiny_project import TinyProject

H100 = StandInGpu(
    name="NVIDIA H100",
    uuid="GPU-2",
    power_limit=700_000,
    highest_clock=1_980,
    mig=1,
    persistence=1,
    compute_mode=3,
    lanes=16,
)
REFUSED = pynvml.NVMLError_NotSupported


def test_what_bounds_a_gpu_is_recorded_with_the_machine(nvml: StandInNvml) -> None:
    """Beside its class: the same card with another power limit is shown as another."""
    nvml.have(H100)
    details = read_fingerprint((), {}).details
    assert {name: text for name, text in details.items() if name.startswith("GPU")} == {
        "GPU power limit": "700 W",
        "GPU highest SM clock": "1980 MHz",
        "GPU MIG": "on",
        "GPU ECC": "on",
        "GPU persistence mode": "on",
        "GPU compute mode": "exclusive process",
        "GPU PCIe lanes": "16",
    }


def test_where_gpus_differ_each_is_told_and_what_is_not_reported_is_left_out(nvml: StandInNvml) -> None:
    """An L4 has no parts, and a virtual GPU tells no lanes and no limit."""
    nvml.have(StandInGpu(), H100, StandInGpu(power_limit=REFUSED, lanes=REFUSED, ecc=pynvml.NVMLError_InvalidArgument))
    with open_gpus() as gpus:
        described = describe_gpus(gpus)
    assert described["GPU power limit"] == "72 W, 700 W"
    assert described["GPU MIG"] == "on"
    assert described["GPU ECC"] == "on"
    assert described["GPU persistence mode"] == "off, on, off"
    assert describe_gpus(()) == {}


def test_a_gpu_that_is_lost_ends_the_run_with_a_sentence(nvml: StandInNvml) -> None:
    nvml.have(StandInGpu(power_limit=pynvml.NVMLError_GpuIsLost))
    with open_gpus() as gpus, pytest.raises(MeasurementError, match="NVML can't read a GPU: GPU is lost"):
        describe_gpus(gpus)


@pytest.mark.parametrize("others", [(os.getpid(),), (os.getpid(), 4_194_305)])
def test_processes_that_compute_on_the_gpu_already_are_told(nvml: StandInNvml, others: tuple[int, ...]) -> None:
    """By name where this machine knows them, as a notebook that was forgotten."""
    nvml.have(StandInGpu(processes=others), StandInGpu(name="NVIDIA L40"))
    [sentence] = tell_other_processes()
    count = "1 other process" if len(others) == 1 else "2 other processes"
    assert sentence.startswith(f"before anything was measured, {count} computed on the GPU NVIDIA L4: ")
    assert f"{psutil.Process().name()} ({os.getpid()})" in sentence
    assert ("process 4194305" in sentence) == (len(others) == 2)


def test_on_a_gpu_of_ones_own_nothing_is_told(nvml: StandInNvml) -> None:
    nvml.have(StandInGpu())
    assert list(tell_other_processes()) == []


def test_a_run_ends_with_that_line(nvml: StandInNvml, tiny_project: TinyProject) -> None:
    nvml.have(StandInGpu(processes=(os.getpid(),)))
    result = tiny_project.run("perf_tests", "-k", "test_api and 8")
    result.stdout.fnmatch_lines(["before anything was measured, 1 other process computed on the GPU NVIDIA L4: *"])

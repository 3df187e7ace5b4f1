"""Which GPUs are observed, and what is read from them: the real binding, on a library that stands in for NVML."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from servegate.errors import MeasurementError
from servegate.telemetry.gpus import GpuReading, driver_version, open_gpus, read_gpu
from unit_tests.builders.nvml.stand_in import DRIVER, StandInGpu, StandInNvml

A = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
B = "GPU-bbbbbbbb-0000-0000-0000-000000000000"
C = "GPU-bbbbcccc-0000-0000-0000-000000000000"
PART = "MIG-dddddddd-0000-0000-0000-000000000000"

NOT_SUPPORTED, NO_PERMISSION = pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission
READING = GpuReading(80.0, 3 * 2**30, 60.0, 5000.0, 60.0, 1500.0, ())


@pytest.mark.parametrize(
    ("cuda_visible_devices", "visible"),
    [
        (None, [A, B, C]),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        (B, [B]),
        (f"{A},{C}", [A, C]),
        ("GPU-bbbbb", [B]),
        ("GPU-bbbb", [B]),
        (f"0,{B}", [A, B]),
        (PART, [PART]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("7", []),
        ("0,7,1", [A]),
        (f"{A},{PART},{B}", [A, PART]),
        ("1,1,0", [B]),
        ("none", []),
        ("GPU-dddd", []),
    ],
)
def test_cuda_visible_devices_is_heeded(
    nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch, cuda_visible_devices: str | None, visible: list[str]
) -> None:
    """By index, by UUID and by the beginning of one, a part of a GPU by its own; NVML knows nothing of the variable."""
    if cuda_visible_devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cuda_visible_devices)
    nvml.have(*[StandInGpu(uuid=uuid) for uuid in (A, B, C)], StandInGpu(uuid=PART, is_part=True))
    with open_gpus() as gpus:
        assert [gpu.uuid for gpu in gpus] == visible
        assert nvml.closed == 0
    assert (nvml.opened, nvml.closed) == (1, 1)


@pytest.mark.parametrize("error", [pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded])
def test_without_a_driver_there_are_no_gpus(nvml: StandInNvml, error: type[pynvml.NVMLError]) -> None:
    nvml.have(StandInGpu())
    nvml.fail_at_start(error)
    with open_gpus() as gpus:
        assert gpus == ()
    assert driver_version() is None
    assert nvml.closed == 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NO_PERMISSION, "there is an NVIDIA driver, but NVML does not start: Insufficient Permissions"),
        (
            pynvml.NVMLError_LibRmVersionMismatch,
            "the NVIDIA driver was updated, so NVML does not start .*; restart the machine",
        ),
    ],
)
def test_a_driver_that_does_not_work_is_an_error_and_not_a_machine_without_a_gpu(
    nvml: StandInNvml, error: type[pynvml.NVMLError], sentence: str
) -> None:
    """After an update of the driver the machine needs a restart, and the sentence says so."""
    nvml.fail_at_start(error)
    with pytest.raises(MeasurementError, match=sentence), open_gpus():
        pass
    with pytest.raises(MeasurementError, match="NVML does not start"):
        driver_version()


def test_the_drivers_version_is_known(nvml: StandInNvml) -> None:
    assert driver_version() == DRIVER
    assert (nvml.opened, nvml.closed) == (1, 1)


@pytest.mark.parametrize(
    ("gpu", "reading"),
    [
        (
            StandInGpu(utilisation=97, memory=2**30, power=61_500, energy=12_345, temperature=71, clock=1_980),
            GpuReading(97.0, 2**30, 61.5, 12.345, 71.0, 1980.0, ()),
        ),
        (StandInGpu(utilisation=NOT_SUPPORTED), replace(READING, utilisation_percent=None)),
        (StandInGpu(power=NOT_SUPPORTED, energy=NO_PERMISSION), replace(READING, power_w=None, energy_j=None)),
        (
            StandInGpu(temperature=NOT_SUPPORTED, clock=NOT_SUPPORTED, reasons=NOT_SUPPORTED),
            replace(READING, temperature_c=None, sm_clock_mhz=None),
        ),
        # A power cap by software and an idle GPU's low clock are no slowdowns.
        (StandInGpu(reasons=0x4 | 0x1), READING),
        (
            StandInGpu(reasons=0x8 | 0x40),
            replace(READING, slowed_by=("hardware slowdown", "hardware thermal slowdown")),
        ),
        (StandInGpu(reasons=0x20 | 0x80), replace(READING, slowed_by=("software thermal slowdown", "power brake"))),
    ],
)
def test_a_reading_has_plain_units_and_none_for_what_is_not_reported(
    nvml: StandInNvml, gpu: StandInGpu, reading: GpuReading
) -> None:
    """Under MIG there is no utilisation; small and old boards don't report power or energy."""
    nvml.have(gpu)
    with open_gpus() as (opened,):
        assert read_gpu(opened) == reading


def test_a_part_of_a_gpu_reports_its_memory(nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under MIG, of which CUDA_VISIBLE_DEVICES names the part: no utilisation, no power, no energy of its own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", PART)
    refused = dict.fromkeys(("utilisation", "power", "energy", "temperature", "clock", "reasons"), NOT_SUPPORTED)
    part = StandInGpu(name="NVIDIA H100 MIG 1g.10gb", uuid=PART, is_part=True, memory=2**30, **refused)
    nvml.have(StandInGpu(uuid=A), part)
    with open_gpus() as (opened,):
        assert opened.name == "NVIDIA H100 MIG 1g.10gb"
        assert read_gpu(opened) == GpuReading(None, 2**30, None, None, None, None, ())


def test_a_part_of_a_gpu_that_is_not_there_is_an_error(nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", PART)
    nvml.have(StandInGpu(uuid=A))
    with pytest.raises(MeasurementError, match="NVML can't tell which GPUs there are"), open_gpus():
        pass


def test_gpus_that_are_lost_from_the_start_are_an_error(nvml: StandInNvml) -> None:
    nvml.lose_all()
    with pytest.raises(MeasurementError, match="NVML can't tell which GPUs there are"), open_gpus():
        pass
    assert nvml.closed == 1


@pytest.mark.parametrize("what", ["utilisation", "memory", "power", "temperature", "reasons"])
def test_a_lost_gpu_is_an_error_and_not_a_missing_value(nvml: StandInNvml, what: str) -> None:
    nvml.have(StandInGpu())
    nvml.set(0, **{what: pynvml.NVMLError_GpuIsLost})
    with pytest.raises(pynvml.NVMLError_GpuIsLost), open_gpus() as (opened,):
        read_gpu(opened)
    assert nvml.closed == 1


def test_the_binding_finds_the_library_by_itself(nvml_library: Path) -> None:
    """In a process of its own, as in a run: the loader's path leads to it."""
    program = "from servegate.telemetry.gpus import driver_version; print(driver_version())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml_library.parent)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == DRIVER

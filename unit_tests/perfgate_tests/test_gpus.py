"""Which GPUs are observed, and what is read from them."""

import pynvml
import pytest

from perfgate.errors import MeasurementError
from perfgate.gpus import GpuReading, driver_version, open_gpus, read_gpu
from unit_tests.perfgate_tests.fake_nvml import DRIVER, FakeGpu, FakeNvml

A = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
B = "GPU-bbbbbbbb-0000-0000-0000-000000000000"
C = "GPU-bbbbcccc-0000-0000-0000-000000000000"

NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
NO_PERMISSION = pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
LOST = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


@pytest.mark.parametrize(
    ("cuda_visible_devices", "visible"),
    [
        (None, [A, B, C]),
        ("0", [A]),
        ("2,0", [A, C]),
        (" 1 , 2 ", [B, C]),
        (B, [B]),
        (f"{A},{C}", [A, C]),
        ("GPU-bbbbb", [B]),
        ("GPU-bbbb", [B, C]),
        (f"0,{B}", [A, B]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("7", []),
        ("none", []),
        ("GPU-dddd", []),
    ],
)
def test_cuda_visible_devices_is_heeded(
    monkeypatch: pytest.MonkeyPatch, cuda_visible_devices: str | None, visible: list[str]
) -> None:
    """By index, by UUID and by the beginning of a UUID; NVML itself knows nothing of the variable."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if cuda_visible_devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cuda_visible_devices)
    nvml = FakeNvml(monkeypatch, *[FakeGpu(uuid=uuid) for uuid in (A, B, C)])
    with open_gpus() as gpus:
        assert [gpu.uuid for gpu in gpus] == visible
        assert nvml.closed == 0
    assert (nvml.opened, nvml.closed) == (1, 1)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    with open_gpus() as gpus:
        assert gpus == ()
    assert driver_version() is None


def test_the_drivers_version_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(monkeypatch)
    assert driver_version() == DRIVER
    assert (nvml.opened, nvml.closed) == (1, 1)


@pytest.mark.parametrize(
    ("gpu", "reading"),
    [
        (
            FakeGpu(utilisation_percent=97, memory_bytes=2**30, power_mw=61_500, energy_mj=12_345),
            GpuReading(utilisation_percent=97.0, memory_bytes=2**30, power_w=61.5, energy_j=12.345),
        ),
        (FakeGpu(utilisation_percent=NOT_SUPPORTED), GpuReading(None, 3 * 2**30, 60.0, 5000.0)),
        (FakeGpu(power_mw=NOT_SUPPORTED, energy_mj=NO_PERMISSION), GpuReading(80.0, 3 * 2**30, None, None)),
    ],
)
def test_a_reading_has_plain_units_and_none_for_what_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, reading: GpuReading
) -> None:
    """Under MIG there is no utilisation; small and old boards don't report power or energy."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    FakeNvml(monkeypatch, gpu)
    with open_gpus() as (opened,):
        read = read_gpu(opened)
    assert read.power_w == pytest.approx(reading.power_w)
    assert read.energy_j == pytest.approx(reading.energy_j)
    assert (read.utilisation_percent, read.memory_bytes) == (reading.utilisation_percent, reading.memory_bytes)


def test_a_gpu_that_is_lost_from_the_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(monkeypatch)

    def lost() -> int:
        raise LOST

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lost)
    with pytest.raises(MeasurementError, match="NVML can't tell which GPUs there are: GPU is lost"), open_gpus():
        pass
    assert nvml.closed == 1


@pytest.mark.parametrize("gpu", [FakeGpu(utilisation_percent=LOST), FakeGpu(memory_bytes=LOST), FakeGpu(power_mw=LOST)])
def test_a_lost_gpu_is_an_error_and_not_a_missing_value(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = FakeNvml(monkeypatch, gpu)
    with pytest.raises(pynvml.NVMLError_GpuIsLost), open_gpus() as (opened,):
        read_gpu(opened)
    assert nvml.closed == 1

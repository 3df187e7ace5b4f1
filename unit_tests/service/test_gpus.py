"""Which GPUs the service counts, and what it says where one can't be used: the real binding, on a stand-in for NVML."""

import re
from collections.abc import Callable

import pynvml
import pytest

from servegate.telemetry.gpus import open_gpus
from service import gpus
from service.app import build_server
from service.gpus import GpuError, count_usable_gpus
from service.model_worker import main
from service.settings import SettingsError, load_settings
from unit_tests.builders.nvml.stand_in import DRIVER, StandInGpu, StandInNvml

A = "GPU-aaaaaaaa-0000-0000-0000-000000000000"
B = "GPU-bbbbbbbb-0000-0000-0000-000000000000"
PART = "MIG-dddddddd-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 2),
        ("0", 1),
        ("0, 1", 2),
        ("1,0", 2),
        (A, 1),
        (f"{A},{B}", 2),
        ("GPU-bbbb", 1),
        (PART, 1),
        (f"{PART},{A}", 1),
        (f"{A},{PART},{B}", 2),
        ("0,-1,1", 1),
        ("0,7,1", 1),
        ("0,0", 1),
        ("", 0),
        ("-1", 0),
        ("7", 0),
        ("none", 0),
    ],
)
def test_litserve_is_told_how_many_gpus_there_are(
    nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    """However CUDA_VISIBLE_DEVICES names them, and as the gate counts them. With 0 it would wait for ever."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml.have(StandInGpu(uuid=A), StandInGpu(uuid=B), StandInGpu(uuid=PART, is_part=True, capability_major=0))
    assert count_usable_gpus() == count
    assert (nvml.opened, nvml.closed) in {(0, 0), (1, 1)}
    with open_gpus() as of_the_gate:
        assert len(of_the_gate) == count
    settings = load_settings(["--workers-per-device", "2"], "unit_tests")
    server = build_server(settings)
    if count:
        assert [device for [device] in server.devices] == [f"cuda:{index}" for index in range(count)]
    else:
        assert server.devices == ["cpu"]


def test_the_gpus_are_looked_for_once(nvml: StandInNvml) -> None:
    """To start NVML takes a second on a machine whose driver isn't kept loaded."""
    nvml.have(StandInGpu())
    settings = load_settings([], "unit_tests")
    assert (settings.resolved_device, settings.device_count, settings.resolved_workers_per_device) == ("cuda", 1, 2)
    assert nvml.opened == 1


@pytest.mark.parametrize("error", [pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded])
def test_without_a_driver_auto_is_the_cpu(nvml: StandInNvml, error: type[pynvml.NVMLError]) -> None:
    nvml.fail_at_start(error)
    assert load_settings([], "unit_tests").resolved_device == "cpu"


def _version_mismatch(nvml: StandInNvml) -> None:
    nvml.fail_at_start(pynvml.NVMLError_LibRmVersionMismatch)


def _no_permission(nvml: StandInNvml) -> None:
    nvml.fail_at_start(pynvml.NVMLError_NoPermission)


def _old_driver(nvml: StandInNvml) -> None:
    nvml.drive(12_080)


def _no_cuda_in_the_container(nvml: StandInNvml) -> None:
    nvml.drive(0, pynvml.NVMLError_LibraryNotFound)


def _old_gpu(nvml: StandInNvml) -> None:
    nvml.have(StandInGpu(name="Tesla V100", capability_major=7, capability_minor=0))


def _lost_gpus(nvml: StandInNvml) -> None:
    nvml.lose_all()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (
            _version_mismatch,
            "kernel still runs the one before (RM has detected an NVML/RM version mismatch.); restart",
        ),
        (
            _no_permission,
            "there is an NVIDIA driver, but it does not start (Insufficient Permissions)",
        ),
        (_old_driver, f"driver {DRIVER} is for CUDA 12, and torch was built for CUDA 13; install driver 580 or newer"),
        (_no_cuda_in_the_container, "let NVIDIA_DRIVER_CAPABILITIES hold `compute`"),
        (
            _old_gpu,
            "Tesla V100 has compute capability 7.0, and CUDA 13 needs 7.5; leave it out by",
        ),
        (_lost_gpus, "NVML can't tell which GPUs there are"),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_that_cannot_be_used_is_an_error_and_not_a_cpu(
    nvml: StandInNvml,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    prepare: Callable[[StandInNvml], None],
    sentence: str,
) -> None:
    """Also where the choice is left to the service: the CPU's figures would be taken for the GPU's."""
    monkeypatch.setattr(gpus, "_cuda_of_torch", lambda: 13)
    nvml.have(StandInGpu())
    prepare(nvml)
    settings = load_settings(["--device", device], "unit_tests")
    with pytest.raises(SettingsError, match=re.escape(sentence)) as caught:
        build_server(settings)
    assert str(caught.value).startswith(f"CLASSIFIER_DEVICE (--device)={device}: ")
    assert str(caught.value).endswith("To run on the CPU, set it to cpu")
    assert build_server(load_settings(["--device", "cpu"], "unit_tests")).devices == ["cpu"]


@pytest.mark.parametrize("visible", [None, "7"])
def test_a_gpu_that_was_asked_for_and_is_not_there_ends_the_start(
    nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], visible: str | None
) -> None:
    """The sentence names the variable that hides it, if one does."""
    hidden = ""
    if visible is not None:
        nvml.have(StandInGpu())
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        hidden = f" with CUDA_VISIBLE_DEVICES={visible}"
    expected = f"CLASSIFIER_DEVICE (--device)=cuda: there is no GPU that CUDA may use{hidden}; `nvidia-smi -L` lists"
    with pytest.raises(SettingsError, match=re.escape(expected)):
        build_server(load_settings(["--device", "cuda"], "unit_tests"))
    monkeypatch.setattr("service.model_worker.ensure_environment", lambda *_: None)
    assert main(["--device", "cuda"]) == 2
    assert expected in capsys.readouterr().err


def test_torchs_cuda_is_known_without_importing_torch() -> None:
    import torch

    assert str(gpus._cuda_of_torch()) == str(torch.version.cuda).split(".")[0]


def test_a_torch_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runpy.run_path", lambda _: {"cuda": None})
    with pytest.raises(GpuError, match="torch was installed without CUDA"):
        gpus._cuda_of_torch()

"""A process that can't have its device says so before it loads anything."""

import pytest

from service.model.errors import DeviceError
from service.model.startup import ready_classifier
from service.settings import load_settings


def test_a_gpu_that_torch_cannot_use_ends_the_start_with_torchs_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where NVML has one and CUDA doesn't start, in a container or after an update of the driver."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match=r"torch can't use the GPU: .+"):
        ready_classifier(load_settings(["--device", "cuda"], "unit_tests"), "cuda:0")

"""NVML without a GPU: the functions of pynvml that perfgate calls, answered by fakes.

The only fake of the unit tests: the machines that run them have no GPU, and none can be made to fail on demand.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

DRIVER = "550.54.15"


@dataclass
class FakeGpu:
    """What a GPU answers; each reading adds `energy_mj_per_reading`. An exception in a field's place is raised."""

    name: str = "NVIDIA L4"
    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    utilisation_percent: int | Exception = 80
    memory_bytes: int | Exception = 3 * 2**30
    power_mw: int | Exception = 60_000
    energy_mj: int | Exception = 5_000_000
    energy_mj_per_reading: int = 0


class FakeNvml:
    """Takes the place of NVML with these GPUs; counts how often it is opened and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu) -> None:
        self.opened = 0
        self.closed = 0
        self._gpus = gpus
        for function in (
            self.nvmlInit,
            self.nvmlShutdown,
            self.nvmlSystemGetDriverVersion,
            self.nvmlDeviceGetCount,
            self.nvmlDeviceGetHandleByIndex,
            self.nvmlDeviceGetName,
            self.nvmlDeviceGetUUID,
            self.nvmlDeviceGetUtilizationRates,
            self.nvmlDeviceGetMemoryInfo,
            self.nvmlDeviceGetPowerUsage,
            self.nvmlDeviceGetTotalEnergyConsumption,
        ):
            monkeypatch.setattr(pynvml, function.__name__, function)

    def nvmlInit(self) -> None:  # noqa: N802  (NVML's names)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.closed += 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return DRIVER

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        return self._gpus[index]

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.name

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=_answer(gpu.utilisation_percent))

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return SimpleNamespace(used=_answer(gpu.memory_bytes))

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        return _answer(gpu.power_mw)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        energy_mj = _answer(gpu.energy_mj)
        gpu.energy_mj = energy_mj + gpu.energy_mj_per_reading
        return energy_mj


def _answer(value: int | Exception) -> int:
    if isinstance(value, Exception):
        raise value
    return value

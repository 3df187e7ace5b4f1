"""A process on the CPU of a machine with a GPU is told of, so that its figures are judged INVALID."""

import pytest

from servegate.judging.arms import find_fallback
from servegate.telemetry.missed_gpu import tell_missed_gpu
from unit_tests.builders.nvml.stand_in import StandInGpu, StandInNvml

ON_CPU = {"server device": "cpu", "server devices": "['cpu']"}


def test_a_process_on_the_cpu_of_a_machine_with_a_gpu_is_no_measurement(nvml: StandInNvml) -> None:
    nvml.have(StandInGpu(name="NVIDIA L4"))
    reason = find_fallback(tell_missed_gpu(ON_CPU))
    assert reason is not None
    assert reason.startswith("server device is cpu on a machine with NVIDIA L4; to measure the CPU, hide the GPU")


@pytest.mark.parametrize("details", [{"server device": "cuda"}, {"server devices": "cpu"}, {}])
def test_what_runs_on_the_gpu_or_says_nothing_is_left_alone(nvml: StandInNvml, details: dict[str, str]) -> None:
    nvml.have(StandInGpu())
    assert tell_missed_gpu(details) == details


def test_where_the_gpu_is_hidden_the_class_is_the_cpus(nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.have(StandInGpu())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert tell_missed_gpu(ON_CPU) == ON_CPU

"""What a process and its children use: real processes that work, and GPUs that are faked."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pynvml
import pytest

from perfgate import telemetry
from perfgate.errors import MeasurementError
from perfgate.processes import ManagedProcess
from perfgate.telemetry import TelemetrySampler
from unit_tests.perfgate_tests import programs
from unit_tests.perfgate_tests.fake_nvml import FakeGpu, FakeNvml
from unit_tests.perfgate_tests.waiting import is_running, wait_until

DEADLINE_S = 60.0
BUSY = "print(flush=True)\nwhile True: pass"
BUSY_FOR_A_WHILE = """
import time
while time.process_time() < 0.4: pass
"""
# Starts a child at each line that it reads, waits for it and answers.
STARTS_CHILDREN = f"""
import subprocess, sys
for line in sys.stdin:
    subprocess.run([sys.executable, "-c", {BUSY_FOR_A_WHILE!r}])
    print("done", flush=True)
"""
# Holds 100 MB until it reads a line.
HOLDING = """
import sys
memory = b"x" * 10**8
print(flush=True)
sys.stdin.readline()
del memory
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one, also where there is one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@contextmanager
def running(program: str, *arguments: str) -> Iterator[ManagedProcess]:
    command = [sys.executable, "-c", program, *arguments]
    with ManagedProcess(command, cwd=Path.cwd(), env={}, name="the program", pipes=True) as process:
        yield process


def cpu_s(pids: list[int]) -> float:
    """CPU-seconds of the processes so far, by psutil alone."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


@pytest.mark.usefixtures("no_gpu")
class TestProcesses:
    """CPU and memory of a tree of processes."""

    def test_the_cpu_of_a_busy_child_and_grandchild_is_seen(self) -> None:
        """As psutil sees it when asked about each of them before and after."""
        child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}])\nwhile True: pass"
        with running(programs.PARENT, child) as parent:
            parent.read_line(DEADLINE_S)
            tree = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
            assert len(tree) == 2
            start_s, start_cpu_s = time.monotonic(), cpu_s(tree)
            with TelemetrySampler(parent.pid) as sampler:
                wait_until(lambda: cpu_s(tree) - start_cpu_s > 1.0, "both have worked")
            expected_cores = (cpu_s(tree) - start_cpu_s) / (time.monotonic() - start_s)
        assert sampler.record.cpu_cores == pytest.approx(expected_cores, rel=0.3)
        assert sampler.record.gpu is None

    def test_an_idle_process_uses_nothing_and_what_it_used_before_does_not_count(self) -> None:
        program = f"import sys\n{BUSY_FOR_A_WHILE}\nprint(flush=True)\nsys.stdin.read()"
        with running(program) as process:
            process.read_line(DEADLINE_S)
            start_s = time.monotonic()
            with TelemetrySampler(process.pid) as sampler:
                pass
            used_s = sampler.record.cpu_cores * (time.monotonic() - start_s)
        assert used_s < 0.2  # a tick or two of the clock that accounts it

    def test_a_child_that_starts_and_ends_meanwhile_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With its CPU time up to the last sample of it."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.02)
        with running(STARTS_CHILDREN) as process:
            start_s = time.monotonic()
            with TelemetrySampler(process.pid) as sampler:
                process.exchange("start", DEADLINE_S)
            used_s = sampler.record.cpu_cores * (time.monotonic() - start_s)
        assert 0.05 < used_s < 1.0

    def test_memory_is_the_most_at_one_time_over_all_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two processes with 100 MB each, of which one lets go."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.02)
        parent = f"import subprocess, sys; memory = b'x' * 10**8; subprocess.run([sys.executable, '-c', {HOLDING!r}])"
        with running(parent) as process:
            process.read_line(DEADLINE_S)
            with TelemetrySampler(process.pid) as sampler:
                process.exchange("let go", DEADLINE_S)
        assert 2 * 10**8 < sampler.record.memory_bytes < 3 * 10**8

    def test_a_process_that_dies_meanwhile_is_no_error(self) -> None:
        """Whoever measures says what is wrong with the process; telemetry keeps what it has seen."""
        with running("import signal; print(flush=True); signal.pause()") as process:
            process.read_line(DEADLINE_S)
            with TelemetrySampler(process.pid) as sampler:
                psutil.Process(process.pid).kill()
                wait_until(lambda: process.returncode is not None, "it is dead")
        assert sampler.record.memory_bytes > 10**6

    def test_a_process_that_never_was_uses_nothing(self) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        assert not is_running(ended.pid)
        with TelemetrySampler(ended.pid) as sampler:
            pass
        assert (sampler.record.cpu_cores, sampler.record.memory_bytes) == (0.0, 0)

    def test_an_error_of_the_block_passes_and_leaves_no_thread(self) -> None:
        sampler = TelemetrySampler(psutil.Process().pid)
        with pytest.raises(KeyError), sampler:
            raise KeyError
        assert not hasattr(sampler, "record")


class TestGpus:
    """What NVML says while the block runs."""

    @pytest.fixture(autouse=True)
    def every_gpu_is_visible(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_all_gpus_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Utilisation is the mean over GPUs; memory, power and energy are sums. Energy is end less start."""
        nvml = FakeNvml(
            monkeypatch,
            FakeGpu(utilisation_percent=90, memory_bytes=10, power_mw=50_000, energy_mj_per_reading=2_000),
            FakeGpu(utilisation_percent=50, memory_bytes=30, power_mw=30_000, energy_mj=7, energy_mj_per_reading=500),
        )
        with TelemetrySampler(psutil.Process().pid) as sampler:
            assert (nvml.opened, nvml.closed) == (1, 0)
        gpu = sampler.record.gpu
        assert nvml.closed == 1
        assert gpu is not None
        assert gpu.utilisation_percent == pytest.approx(70.0)
        assert gpu.memory_bytes == 40
        assert gpu.power_w == pytest.approx(80.0)
        assert gpu.energy_j == pytest.approx(2.5)

    def test_it_is_read_again_and_again_while_the_block_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.01)
        gpu = FakeGpu(energy_mj=0, energy_mj_per_reading=1_000, memory_bytes=20)
        FakeNvml(monkeypatch, gpu)
        with TelemetrySampler(psutil.Process().pid) as sampler:
            gpu.utilisation_percent, gpu.memory_bytes = 20, 50
            start_mj = gpu.energy_mj
            assert isinstance(start_mj, int)
            wait_until(lambda: isinstance(gpu.energy_mj, int) and gpu.energy_mj > start_mj + 10_000, "ten readings")
            gpu.memory_bytes = 10
        assert sampler.record.gpu is not None
        assert sampler.record.gpu.utilisation_percent is not None
        assert 20 < sampler.record.gpu.utilisation_percent < 80
        assert sampler.record.gpu.memory_bytes == 50
        assert sampler.record.gpu.energy_j is not None
        assert sampler.record.gpu.energy_j > 10.0

    def test_what_one_gpu_does_not_report_has_no_figure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Under MIG there is no utilisation; half of a power is no power."""
        not_supported = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        FakeNvml(
            monkeypatch,
            FakeGpu(utilisation_percent=not_supported),
            FakeGpu(utilisation_percent=not_supported, power_mw=not_supported, energy_mj=not_supported),
        )
        with TelemetrySampler(psutil.Process().pid) as sampler:
            pass
        gpu = sampler.record.gpu
        assert gpu is not None
        assert (gpu.utilisation_percent, gpu.power_w, gpu.energy_j) == (None, None, None)
        assert gpu.memory_bytes == 6 * 2**30

    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_a_lost_gpu_is_an_error(self, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        """No figure without it; and NVML is closed."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.01)
        gpu = FakeGpu()
        nvml = FakeNvml(monkeypatch, gpu)
        lost = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if when == "before":
            gpu.memory_bytes = lost
        with (
            pytest.raises(MeasurementError, match="telemetry failed: GPU is lost"),
            TelemetrySampler(psutil.Process().pid),
        ):
            gpu.memory_bytes = lost
        assert nvml.closed == 1

"""What a process and its children use: real processes that work, and GPUs that a library stands in for."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pynvml
import pytest

from servegate.errors import MeasurementError
from servegate.processes.managed import ManagedProcess
from servegate.telemetry import process_tree as observed
from servegate.telemetry import sampler as telemetry
from servegate.telemetry.process_tree import observe
from servegate.telemetry.sampler import TelemetrySampler, combine
from unit_tests.builders import programs
from unit_tests.builders.nvml.stand_in import StandInGpu, StandInNvml
from unit_tests.builders.waiting import is_running, wait_until

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


@contextmanager
def sampled(pid: int) -> Iterator[TelemetrySampler]:
    with observe(pid) as tree, TelemetrySampler(tree) as sampler:
        yield sampler


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
            with sampled(parent.pid) as sampler:
                wait_until(lambda: cpu_s(tree) - start_cpu_s > 1.0, "both have worked")
            expected_cores = (cpu_s(tree) - start_cpu_s) / (time.monotonic() - start_s)
        assert sampler.record.cpu_cores == pytest.approx(expected_cores, rel=0.3)
        assert sampler.record.gpu is None

    def test_each_process_has_its_share(self) -> None:
        """Of the tree, one child works and the other sleeps; together they are the cores in use."""
        children = (
            "import subprocess, sys, time\nfor work in sys.argv[1:]: subprocess.Popen([sys.executable, '-c', work])"
        )
        with running(f"{children}\nprint(flush=True)\ntime.sleep(60)", BUSY, "import time; time.sleep(60)") as parent:
            parent.read_line(DEADLINE_S)
            busy, *_ = (process.pid for process in psutil.Process(parent.pid).children())
            with sampled(parent.pid) as sampler:
                start_cpu_s = cpu_s([busy])
                wait_until(lambda: cpu_s([busy]) > start_cpu_s + 0.3, "one has worked")
        by_process = sampler.record.cpu_cores_by_process
        assert list(by_process) == ["subprocess 1", "-c 1", "time 1"]
        assert sum(by_process.values()) == pytest.approx(sampler.record.cpu_cores)
        assert by_process["-c 1"] > 0.5 * sampler.record.cpu_cores

    @pytest.mark.parametrize(
        ("command", "name"),
        [
            (["/usr/bin/python3", "-m", "service.server", "--port", "8000"], "service.server 1"),
            (["python", "-B", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"], "worker 1"),
            (["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"], "resource tracker 1"),
            (["python", "-c", "from multiprocessing.forkserver import main; main(5)"], "fork server 1"),
            (["python", "-c", "from joblib.externals import loky"], "joblib 1"),
            (["python", "-B", "/srv/app/server.py", "-m", "x"], "server.py 1"),
            (["python", "-c"], "-c 1"),
            (["python"], "the name 1"),
            ([], "the name 1"),
        ],
    )
    def test_a_process_is_named_by_what_it_runs(self, command: list[str], name: str) -> None:
        process = SimpleNamespace(cmdline=lambda: command, name=lambda: "the name", pid=1)
        assert observed._program(cast("psutil.Process", process)) + " 1" == name

    def test_a_process_gets_its_name_when_its_program_has_begun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the kernel has no command line of it yet it is left out, and the next reading looks again."""
        with running("print(flush=True)\nimport time; time.sleep(60)") as process:
            process.read_line(DEADLINE_S)
            with observe(process.pid) as tree:
                with monkeypatch.context() as starting:
                    starting.setattr(psutil.Process, "cmdline", lambda _: [])
                    assert list(tree.read().cpu_s) == []
                assert list(tree.read().cpu_s) == ["-c 1"]

    def test_an_old_process_without_a_command_line_is_named_by_its_executable(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some programs erase theirs."""
        monkeypatch.setattr(observed, "_CHILDREN_S", 0.0)
        monkeypatch.setattr(psutil.Process, "cmdline", lambda _: [])
        with running("print(flush=True)\nimport time; time.sleep(60)") as process:
            process.read_line(DEADLINE_S)
            with observe(process.pid) as tree:
                assert list(tree.read().cpu_s) == [f"{psutil.Process(process.pid).name()} 1"]

    def test_an_idle_process_uses_nothing_and_what_it_used_before_does_not_count(self) -> None:
        program = f"import sys\n{BUSY_FOR_A_WHILE}\nprint(flush=True)\nsys.stdin.read()"
        with running(program) as process:
            process.read_line(DEADLINE_S)
            start_s = time.monotonic()
            with sampled(process.pid) as sampler:
                pass
            used_s = sampler.record.cpu_cores * (time.monotonic() - start_s)
        assert used_s < 0.2  # a tick or two of the clock that accounts it

    def test_a_child_that_starts_and_ends_meanwhile_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With its CPU time up to the last sample of it, if it lives as long as a list of children is kept."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.02)
        monkeypatch.setattr(observed, "_CHILDREN_S", 0.0)
        with running(STARTS_CHILDREN) as process:
            start_s = time.monotonic()
            with sampled(process.pid) as sampler:
                process.exchange("start", DEADLINE_S)
            used_s = sampler.record.cpu_cores * (time.monotonic() - start_s)
        assert 0.05 < used_s < 1.0

    def test_memory_is_the_most_at_one_time_over_all_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two processes with 100 MB each, of which one lets go."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.02)
        parent = f"import subprocess, sys; memory = b'x' * 10**8; subprocess.run([sys.executable, '-c', {HOLDING!r}])"
        with running(parent) as process:
            process.read_line(DEADLINE_S)
            with sampled(process.pid) as sampler:
                process.exchange("let go", DEADLINE_S)
        assert 2 * 10**8 < sampler.record.gauges["memory_bytes"] < 3 * 10**8

    def test_a_process_that_dies_meanwhile_is_no_error(self) -> None:
        """Whoever measures says what is wrong with the process; telemetry keeps what it has seen."""
        with running("import signal; print(flush=True); signal.pause()") as process:
            process.read_line(DEADLINE_S)
            with sampled(process.pid) as sampler:
                psutil.Process(process.pid).kill()
                wait_until(lambda: process.returncode is not None, "it is dead")
        assert sampler.record.gauges["memory_bytes"] > 10**6

    def test_a_process_that_never_was_uses_nothing(self) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        assert not is_running(ended.pid)
        with sampled(ended.pid) as sampler:
            pass
        assert (sampler.record.cpu_cores, sampler.record.gauges["memory_bytes"]) == (0.0, 0)

    def test_an_error_of_the_block_passes_and_leaves_no_thread(self) -> None:
        with observe(psutil.Process().pid) as tree:
            sampler = TelemetrySampler(tree)
            with pytest.raises(KeyError), sampler:
                raise KeyError
        assert not hasattr(sampler, "record")

    def test_what_observing_costs_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of the reading threads alone, as far as a clock of this test's can see it."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.001)
        start_cpu_s = time.process_time()
        with running(BUSY) as process:
            process.read_line(DEADLINE_S)
            with sampled(process.pid) as sampler:
                wait_until(lambda: cpu_s([process.pid]) > 0.5, "it has worked")
        assert 0 < sampler.record.own_cpu_s < time.process_time() - start_cpu_s
        assert sampler.record.observed_cpu_s == pytest.approx(0.5, abs=0.4)


class TestGpus:
    """What NVML says while the block runs."""

    def test_all_gpus_together(self, nvml: StandInNvml) -> None:
        """Utilisation and clock are means over GPUs; memory, power and energy are sums. Energy is end less start."""
        nvml.have(
            StandInGpu(utilisation=90, memory=10, power=50_000, energy_per_reading=2_000, temperature=50, clock=1_000),
            StandInGpu(utilisation=50, memory=30, power=30_000, energy=7, energy_per_reading=500, reasons=0x40),
        )
        with sampled(psutil.Process().pid) as sampler:
            assert (nvml.opened, nvml.closed) == (1, 0)
        gpu = sampler.record.gpu
        assert nvml.closed == 1
        assert gpu is not None
        assert gpu.utilisation_percent == pytest.approx(70.0)
        assert gpu.memory_bytes == 40
        assert gpu.power_w == pytest.approx(80.0)
        assert gpu.energy_j == pytest.approx(2.5)
        assert (gpu.temperature_c, gpu.sm_clock_mhz) == (60.0, 1250.0)
        assert gpu.slowed_by == ("hardware thermal slowdown",)

    def test_memory_has_what_the_processes_have_of_each_gpu(self, nvml: StandInNvml) -> None:
        """And not what others have, as those of the other arm. A TB is more than the test itself has."""
        nvml.have(
            StandInGpu(processes=(os.getpid(), 4_194_305), process_memory=3 * 2**40),
            StandInGpu(processes=(os.getpid(),), process_memory=2**40),
            StandInGpu(process_memory=2**40),
        )
        with observe(os.getpid()) as tree:
            memory_bytes = tree.memory_bytes()
        assert memory_bytes is not None
        assert memory_bytes // 2**40 == 4

    @pytest.mark.parametrize("error", [pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission])
    def test_where_a_gpu_does_not_tell_memory_by_process_it_is_the_hosts(
        self, nvml: StandInNvml, error: type[pynvml.NVMLError]
    ) -> None:
        nvml.have(StandInGpu(processes=(os.getpid(),), process_memory=error))
        with observe(os.getpid()) as tree:
            memory_bytes = tree.memory_bytes()
        assert memory_bytes is not None
        assert 0 < memory_bytes < 2**40

    def test_a_gpu_that_is_lost_has_no_memory(self, nvml: StandInNvml) -> None:
        nvml.have(StandInGpu(process_memory=pynvml.NVMLError_GpuIsLost))
        with observe(os.getpid()) as tree, pytest.raises(MeasurementError, match="NVML can't read a GPU"):
            tree.memory_bytes()

    def test_it_is_read_again_and_again_while_the_block_runs(
        self, nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.01)
        nvml.have(StandInGpu(energy=0, energy_per_reading=1_000, memory=20))
        with sampled(psutil.Process().pid) as sampler:
            nvml.set(0, utilisation=20, memory=50, temperature=80)
            start_mj = nvml.energy(0)
            wait_until(lambda: nvml.energy(0) > start_mj + 10_000, "ten readings")
            nvml.set(0, memory=10, temperature=70)
        assert sampler.record.gpu is not None
        assert sampler.record.gpu.utilisation_percent is not None
        assert 20 < sampler.record.gpu.utilisation_percent < 80
        assert sampler.record.gpu.memory_bytes == 50
        assert sampler.record.gpu.temperature_c == 80.0
        assert sampler.record.gpu.energy_j is not None
        assert sampler.record.gpu.energy_j > 10.0

    def test_what_one_gpu_does_not_report_has_no_figure(self, nvml: StandInNvml) -> None:
        """Under MIG there is no utilisation; half of a power is no power."""
        refused = pynvml.NVMLError_NotSupported
        nvml.have(StandInGpu(utilisation=refused), StandInGpu(utilisation=refused, power=refused, energy=refused))
        with sampled(psutil.Process().pid) as sampler:
            pass
        gpu = sampler.record.gpu
        assert gpu is not None
        assert (gpu.utilisation_percent, gpu.power_w, gpu.energy_j) == (None, None, None)
        assert gpu.memory_bytes == 6 * 2**30

    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_a_lost_gpu_is_an_error(self, nvml: StandInNvml, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        """No figure without it; and NVML is closed."""
        monkeypatch.setattr(telemetry, "_INTERVAL_S", 0.01)
        nvml.have(StandInGpu())
        if when == "before":
            nvml.set(0, memory=pynvml.NVMLError_GpuIsLost)
        with pytest.raises(MeasurementError, match="telemetry failed"), sampled(psutil.Process().pid):
            nvml.set(0, memory=pynvml.NVMLError_GpuIsLost)
        assert nvml.closed == 1

    def test_stretches_are_put_together(self, nvml: StandInNvml) -> None:
        """Of several bursts of an arm: means of rates, the most of levels, sums of amounts, every reason once."""
        nvml.have(StandInGpu(energy_per_reading=1_000, reasons=0x80))
        with observe(psutil.Process().pid) as tree:
            records = []
            for temperature in (61, 75, 70):
                nvml.set(0, temperature=temperature, clock=10 * temperature)
                with TelemetrySampler(tree) as sampler:
                    pass
                records.append(sampler.record)
        assert nvml.opened == 1
        together = combine(records)
        assert sum(together.cpu_cores_by_process.values()) == pytest.approx(together.cpu_cores)
        assert together.own_cpu_s == pytest.approx(sum(record.own_cpu_s for record in records))
        assert together.gpu is not None
        assert together.gpu.temperature_c == 75.0
        assert together.gpu.sm_clock_mhz == pytest.approx(10 * 206 / 3)
        assert together.gpu.energy_j == pytest.approx(3.0)
        assert together.gpu.slowed_by == ("power brake",)

    def test_a_slowdown_that_hardly_lasts_is_none(self, nvml: StandInNvml) -> None:
        """One reading of thirty, as where a GPU touches its limit of heat once; three of them are a tenth."""
        nvml.have(StandInGpu())
        records = []
        with observe(psutil.Process().pid) as tree:
            for burst in range(30):
                nvml.set(0, reasons=0x40 if burst < 3 else 0)
                with TelemetrySampler(tree) as sampler:
                    pass
                records.append(sampler.record)
        for slowed, expected in ((1, ()), (2, ()), (3, ("hardware thermal slowdown",))):
            gpu = combine(records[:slowed] + records[3:] + records[-1:] * (3 - slowed)).gpu
            assert gpu is not None
            assert gpu.slowed_by == expected

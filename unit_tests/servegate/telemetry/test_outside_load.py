"""The load of others is what the machine used, less what this process and its children used."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from servegate.records import MachineLoad
from servegate.telemetry import outside_load
from servegate.telemetry.outside_load import CpuReading, OutsideLoad, read_cpu

# Uses one core for a second of its CPU time, then says so and waits to be ended.
BUSY = """
import time
while time.process_time() < 1.0:
    pass
print("done", flush=True)
input()
"""


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_own_processes_count_as_own_while_they_run_and_after_their_end() -> None:
    before = read_cpu()
    with busy_process() as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = read_cpu()
    ended = read_cpu()
    assert running.own_s - before.own_s > 0.9
    assert ended.own_s >= running.own_s - 0.02
    # The machine was at least as busy as that process kept it; its clock counts in ticks of 10 ms.
    assert running.machine_s - before.machine_s > 0.8


def test_others_are_what_is_left() -> None:
    earlier, later = CpuReading(10.0, 100.0, 5.0), CpuReading(14.0, 106.0, 7.0)
    assert later.outside_cores_since(earlier) == 1.0


def test_ticks_that_leave_less_than_nothing_are_nothing() -> None:
    assert CpuReading(1.0, 0.5, 0.6).outside_cores_since(CpuReading(0.0, 0.0, 0.0)) == 0.0


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[CpuReading]:
    """What is read, one after the other."""
    planned: list[CpuReading] = []
    monkeypatch.setattr(outside_load, "read_cpu", lambda: planned.pop(0))
    monkeypatch.setattr(outside_load, "_usable_cpus", lambda: [0, 1])
    return planned


def test_the_time_before_the_first_cell_is_told_apart(readings: list[CpuReading]) -> None:
    readings += [
        CpuReading(0.0, 0.0, 0.0),
        CpuReading(2.0, 3.0, 1.0),  # others 1.0 before
        CpuReading(6.0, 5.0, 2.0),  # 0.25 in the first cell's 4 s
        CpuReading(20.0, 9.0, 2.0),  # no watch in between
        CpuReading(32.0, 21.0, 5.0),  # 0.75 in the second one's 12 s
    ]
    load = OutsideLoad()
    for _ in range(2):
        with load.watch():
            pass
    assert load.found == MachineLoad(cores=2, before_cores=1.0, during_cores=0.625, most_cores=0.75)


def test_a_time_too_short_for_the_clock_of_the_kernel_says_nothing(readings: list[CpuReading]) -> None:
    readings += [CpuReading(0.0, 0.0, 0.0), CpuReading(0.1, 0.2, 0.0), CpuReading(0.2, 0.4, 0.0)]
    load = OutsideLoad()
    with load.watch():
        pass
    assert load.found is None


def test_a_real_stretch_is_no_busier_than_the_machine() -> None:
    load = OutsideLoad()
    with load.watch(), busy_process() as process:
        assert process.stdout is not None
        process.stdout.readline()
        end_s = time.monotonic() + 0.1
        while time.monotonic() < end_s:
            pass
    found = load.found
    assert found is not None
    assert 0.0 <= found.during_cores <= found.cores + 0.1

"""A signal for the main thread of another process."""

import signal
import sys
from pathlib import Path

import pytest

from servegate.processes.managed import ManagedProcess
from servegate.processes.signals import send_to_main_thread

DEADLINE_S = 60.0
# The main thread and three others wait in system calls; the main thread's handler ends the process.
WAITING = """
import os, signal, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
for _ in range(3):
    threading.Thread(target=lambda: os.read(os.pipe()[0], 1), daemon=True).start()
print("waits", flush=True)
os.read(os.pipe()[0], 1)
"""
# The main thread leaves SIGTERM to another one, which takes it from the process.
DELEGATING = """
import os, signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def take():
    signal.sigwait({signal.SIGTERM})
    os._exit(8)
threading.Thread(target=take, daemon=True).start()
print("waits", flush=True)
os.read(os.pipe()[0], 1)
"""


def start(program: str) -> ManagedProcess:
    process = ManagedProcess([sys.executable, "-c", program], cwd=Path.cwd(), env={}, name="the program", pipes=True)
    assert process.read_line(DEADLINE_S) == "waits\n"
    return process


def test_a_paused_process_ends_by_its_own_handler() -> None:
    """Sent to the process, the signal is taken by one of the other threads about every second time."""
    for _ in range(8):
        process = start(WAITING)
        process.pause()
        process.stop(grace_s=DEADLINE_S)
        assert process.returncode == 7


def test_a_main_thread_that_blocks_the_signal_leaves_it_to_the_process() -> None:
    process = start(DELEGATING)
    assert not send_to_main_thread(process.pid, signal.SIGTERM)
    process.stop(grace_s=DEADLINE_S)
    assert process.returncode == 8


def test_a_process_that_has_ended_gets_none() -> None:
    process = start("print('waits', flush=True)")
    process.stop()
    assert not send_to_main_thread(process.pid, signal.SIGTERM)


@pytest.mark.parametrize("status", [b"Name:\tx\n", b"Name:\t\xc3\nSigBlk:\t0000000000004000\n"])
def test_a_system_that_does_not_say_what_is_blocked_sends_to_the_process(
    monkeypatch: pytest.MonkeyPatch, status: bytes
) -> None:
    """And a name that was cut within a character is no reason to fail."""
    process = start(WAITING)
    monkeypatch.setattr(Path, "read_bytes", lambda _: status)
    assert not send_to_main_thread(process.pid, signal.SIGTERM)
    process.stop(grace_s=DEADLINE_S)
    assert process.returncode == 7


def test_without_the_call_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where the C library doesn't have it."""
    process = start(WAITING)
    monkeypatch.setattr("servegate.processes.signals.ctypes.CDLL", lambda _: object())
    assert not send_to_main_thread(process.pid, signal.SIGTERM)
    process.stop(grace_s=DEADLINE_S)
    assert process.returncode == 7

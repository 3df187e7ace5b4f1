"""Waiting for a condition, and whether a process runs."""

import time
from collections.abc import Callable

import psutil

_DEADLINE_S = 30.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it holds; a failure after a deadline that no machine needs."""
    end_s = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, f"after {_DEADLINE_S:.0f} s still not: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process lives; a killed one that nobody has waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

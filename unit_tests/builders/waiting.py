"""Waiting for a condition, and whether a process runs."""

import time
from collections.abc import Callable

import psutil


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    """Look again and again until it holds; a failure after a deadline that no machine needs."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"after {deadline_s:.0f} s still not: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process lives; a killed one that nobody has waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

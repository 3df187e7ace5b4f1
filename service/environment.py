"""The process environment that serving fast needs: allocator and threads, both read once when a process starts."""

import os
import sys
from collections.abc import Mapping, Sequence

from service.settings import Settings

_KEEP_MEMORY = {
    # glibc hands every large tensor back to the kernel and faults it in again: that took half of the CPU time of
    # large batches. These keep freed memory in the process.
    "MALLOC_TOP_PAD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
}


def required_environment(settings: Settings) -> dict[str, str]:
    """The variables that the server's processes and the model worker start with."""
    return {**_KEEP_MEMORY, "OMP_NUM_THREADS": str(settings.threads_per_worker)}


def ensure_environment(settings: Settings, module: str, arguments: Sequence[str]) -> None:
    """Start `python -m module arguments` in this process's place unless its environment is as required.

    The process keeps its id, so whoever started it can still signal it.
    """
    required = required_environment(settings)
    if is_satisfied(required, os.environ):
        return
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, {**os.environ, **required})


def is_satisfied(required: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Whether every required variable has its value."""
    return all(environment.get(name) == value for name, value in required.items())

"""The environment variables that must be set before a process starts or imports what reads them."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence

from service.settings import Settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that tells prometheus_client in which folder all processes of a server count."""

_KEEP_MEMORY = {
    # glibc gives every large tensor back to the kernel and faults its pages in again for the next one: that took half
    # of the CPU time of large batches. These settings keep freed memory in the process.
    "MALLOC_TOP_PAD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
}


def required_environment(settings: Settings) -> dict[str, str]:
    """The variables that glibc and OpenMP read once, when a process starts."""
    return {**_KEEP_MEMORY, "OMP_NUM_THREADS": str(settings.threads_per_worker)}


def ensure_environment(settings: Settings, module: str, arguments: Sequence[str]) -> None:
    """Replace this process by `python -m module arguments` unless its environment is as required.

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


def share_metrics() -> None:
    """Let this process and all that it starts count their metrics together.

    prometheus_client decides when it is imported whether it counts for one process or for several: for several if a
    variable names a folder, where each process then keeps a file. This process makes the folder and removes it when it
    exits; its children inherit the variable, and a process that has inherited it leaves the folder alone.

    Raises
    ------
    RuntimeError
        When prometheus_client has been imported already, so that the variable would come too late.
    """
    if os.environ.get(METRICS_FOLDER):
        return
    if "prometheus_client" in sys.modules:
        raise RuntimeError(
            "share_metrics must come before the import of prometheus_client, which reads its variable then"
        )
    os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="classifier-metrics-")
    # multiprocessing ends its children without exit handlers, so only the process that made the folder removes it.
    atexit.register(shutil.rmtree, os.environ[METRICS_FOLDER], ignore_errors=True)

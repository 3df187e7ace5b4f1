"""The environment variables that must be set before a process starts or imports what reads them."""

import atexit
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.settings import Settings, SettingsError

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that tells prometheus_client in which folder all processes of a server count."""

_KEEP_MEMORY = {
    # glibc gives every large tensor back to the kernel and faults its pages in again for the next one: that took half
    # of the CPU time of large batches. These settings keep freed memory in the process.
    "MALLOC_TOP_PAD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
}


_SHARED_MEMORY = "/dev/shm"
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")
_NAMES_TEMPORARY = ("TMPDIR", "TEMP", "TMP")


def required_environment(settings: Settings) -> dict[str, str]:
    """The variables that must be set before a process starts: glibc and OpenMP read theirs once.

    Raises
    ------
    SettingsError
        When there is no folder for temporary files.
    """
    temporary = _temporary_folder()
    return {
        **_KEEP_MEMORY,
        "OMP_NUM_THREADS": str(settings.threads_per_worker),
        **({"TMPDIR": temporary} if temporary == _SHARED_MEMORY else {}),
        **_user(temporary),
    }


def _temporary_folder() -> str:
    """Shared memory where nothing else can be written to, as in a container with a read-only root."""
    meant = {*_TEMPORARY, *(os.environ.get(name) for name in _NAMES_TEMPORARY)}
    try:
        # The working directory is Python's last choice; unless somebody means it, it isn't for sockets and metrics.
        if (folder := tempfile.gettempdir()) in meant or folder != str(Path.cwd()):
            return folder
    except FileNotFoundError:
        pass
    if os.access(_SHARED_MEMORY, os.W_OK):
        return _SHARED_MEMORY
    raise SettingsError("no folder for temporary files can be written to: mount one at /tmp, or set TMPDIR")


def _user(temporary: str) -> dict[str, str]:
    """Home and name for a user of whom only a number is known, as OpenShift starts containers: packages want them."""
    user = {}
    try:
        Path.home()
    except RuntimeError:
        user["HOME"] = temporary
    try:
        getpass.getuser()
    except (KeyError, OSError):
        user["USER"] = str(os.getuid())
    return user


def ensure_environment(settings: Settings, module: str, arguments: Sequence[str]) -> None:
    """Replace this process by `python -m module arguments` unless its environment is as required.

    The process keeps its id, so the program that started it can still send it signals.
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
    SettingsError
        When the folder that the variable names is not there and can't be made, or can't be written to.
    RuntimeError
        When prometheus_client has been imported already, so that the variable would come too late.
    """
    if given := os.environ.get(METRICS_FOLDER):
        try:
            Path(given).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=given).close()
        except OSError as error:
            raise SettingsError(f"{METRICS_FOLDER}={given}: {error.strerror}; name a folder to write to") from None
        return
    if "prometheus_client" in sys.modules:
        raise RuntimeError(
            "share_metrics must come before the import of prometheus_client, which reads its variable then"
        )
    os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="classifier-metrics-")
    # multiprocessing ends its children without exit handlers, so only the process that made the folder removes it.
    atexit.register(shutil.rmtree, os.environ[METRICS_FOLDER], ignore_errors=True)

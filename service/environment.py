"""The process environment that serving fast needs: allocator and threads, both read once when a process starts."""

import getpass
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.settings import Settings, SettingsError

_KEEP_MEMORY = {
    # glibc hands every large tensor back to the kernel and faults it in again: that took half of the CPU time of
    # large batches. These keep freed memory in the process.
    "MALLOC_TOP_PAD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
}


_SHARED_MEMORY = "/dev/shm"


def required_environment(settings: Settings) -> dict[str, str]:
    """The variables that the server's processes and the model worker start with.

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
    try:
        # The working directory is Python's last choice; it isn't meant for sockets and metrics.
        if (folder := tempfile.gettempdir()) != str(Path.cwd()):
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

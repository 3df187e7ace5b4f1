"""One run at a time measures on a machine: two would measure each other, and overwrite one report.

While a run measures it locks a file in the user's cache folder and writes its command there. The kernel releases the
lock however the run ends. Runs of other users show by the load that they make (`telemetry/outside_load.py`).
"""

import fcntl
import json
import os
import platform
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from platformdirs import user_cache_path

from servegate.errors import MachineInUseError

# A measuring run sets this variable for everything that it starts: a run within a run is part of it.
VARIABLE = "SERVEGATE_MACHINE_CLAIMED"


class MachineClaim:
    """A machine that one run has claimed, until `release`."""

    def __init__(self, file: TextIO, command: str, folder: Path) -> None:
        self._file = file
        owner = {
            "process": os.getpid(),
            "command": command,
            "folder": str(folder),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        file.truncate()
        file.write(json.dumps(owner))
        file.flush()
        os.environ[VARIABLE] = str(os.getpid())

    def release(self) -> None:
        """Let the next run measure. Can be called again."""
        if not self._file.closed:
            os.environ.pop(VARIABLE, None)
            self._file.truncate(0)
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def claim_machine(command: str, folder: Path, *, waits: bool, progress: Callable[[str], None]) -> MachineClaim | None:
    """Claim this machine for a run.

    Parameters
    ----------
    command, folder:
        The command and the folder by which another run names this one.
    waits:
        Whether to wait while another run measures.
    progress:
        Called with a line of text when the run waits, or when nothing can keep others away.

    Returns
    -------
    MachineClaim or None
        None for a run within a run, and where the user's cache folder can't be written.

    Raises
    ------
    MachineInUseError
        When another run measures, and this one isn't to wait.
    """
    if VARIABLE in os.environ:
        return None
    # Machines that share a home folder have a file each.
    path = user_cache_path("servegate") / f"measuring-on-{platform.node()}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+", encoding="utf-8")
    except OSError as error:
        progress(f"nothing keeps a second run away from this one: {path} can't be written ({error.strerror})")
        return None
    try:
        _lock(file, path, waits=waits, progress=progress)
        return MachineClaim(file, command, folder)
    except BaseException:
        file.close()
        raise


def _lock(file: TextIO, path: Path, *, waits: bool, progress: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _describe_owner(path)
        if not waits:
            raise MachineInUseError(
                f"{owner} measures on this machine, and two runs would measure each other; "
                "repeat this one when that has ended, or let it wait with --perf-other-run wait"
            ) from None
        progress(f"waits until {owner} has measured; --perf-other-run end ends a run instead")
        fcntl.flock(file, fcntl.LOCK_EX)


def _describe_owner(path: Path) -> str:
    try:
        owner: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(owner["since"])
        return (
            f"`{owner['command']}` in {owner['folder']} (process {owner['process']}, since {since:%H:%M:%S on %d %b})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"  # it has only just got the lock

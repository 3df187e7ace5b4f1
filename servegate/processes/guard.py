"""Ends what a run has started when the run itself is killed, and removes its temporary files.

A process that is killed (SIGKILL) can't clean up after itself. So a guard stands beside it: a small process in a
session of its own that waits until the run's end of a pipe closes, which the kernel does however the run ends. Then it
kills every process that carries the run's mark in its environment, children of children and paused ones among them, and
removes the run's folder.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_MARK = "SERVEGATE_RUN"
_DEADLINE_S = 10.0
_PAUSE_S = 0.1


class Guard:
    """A running guard.

    Attributes
    ----------
    folder:
        For the run's temporary files; removed when the run has ended, however it did.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="servegate-"))
        # A run within a run has a guard of its own, and the outer one ends both.
        self._mark = ":".join(filter(None, (os.environ.get(_MARK), self.folder.name)))
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, self.folder.name, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self._end)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of every process of the run; TMPDIR puts temporary files into the run's folder."""
        return {_MARK: self._mark, "TMPDIR": str(self.folder)}

    def _end(self) -> None:
        assert self._process.stdin is not None, "started with a pipe"
        self._process.stdin.close()
        self._process.wait()


@cache
def guard() -> Guard:
    """Return the guard of this process; the first call starts it."""
    return Guard()


def _main(run: str, folder: str) -> None:
    sys.stdin.read()  # until the run has ended
    end_s = time.monotonic() + _DEADLINE_S
    quiet = 0
    # Twice in a row: a process that is just being started may not carry its mark yet.
    while quiet < 2 and time.monotonic() < end_s:
        quiet = 0 if _kill_all(run) else quiet + 1
        time.sleep(_PAUSE_S)
    shutil.rmtree(folder, ignore_errors=True)


def _kill_all(run: str) -> int:
    """Kill every process of the run; how many there were."""
    import psutil  # not needed while the run lasts

    killed = 0
    for process in psutil.process_iter():
        try:
            if run in process.environ().get(_MARK, "").split(":"):
                process.kill()
                killed += 1
        except psutil.Error:
            pass  # it has ended, or is somebody else's
    return killed


if __name__ == "__main__":
    _main(*sys.argv[1:])

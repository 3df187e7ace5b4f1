"""A process that is measured, given as command, folder and environment: started, waited for, paused and stopped."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from servegate.errors import ProcessError
from servegate.processes.guard import guard
from servegate.processes.local_http import answers_200
from servegate.processes.log import ProcessLog

_POLL_S = 0.05
# Look for an obstacle only so often: a look goes through the sockets of all the children.
_LOOK_EVERY_S = 2.0
# A server may open a port for its management long before its own. Only an obstacle that every look of this time has
# seen ends the wait.
_OBSTACLE_LASTS_S = 30.0


class ManagedProcess:
    """A process in a session of its own, with its log in a file; stopped with all its children.

    Parameters
    ----------
    command:
        Program and arguments.
    cwd:
        The folder it runs in.
    env:
        Variables on top of this process's environment.
    name:
        What messages call it.
    pipes:
        Whether stdin and stdout are pipes to talk through; stderr always goes to the log.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], name: str, pipes: bool = False
    ) -> None:
        self.name = name
        self._is_stopping = False
        self._log = ProcessLog(guard().folder)
        pipe = subprocess.PIPE if pipes else None
        try:
            with os.fdopen(self._log.descriptor, "wb") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={**os.environ, **guard().environment, **env},
                    stdin=pipe or subprocess.DEVNULL,
                    stdout=pipe or log,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
        except OSError as error:
            self._log.remove()
            raise ProcessError(f"{name} can't be started with {command[0]!r}: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Process id; also that of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, or None while it runs."""
        return self._process.poll()

    def log_tail(self) -> str:
        """The last lines that it logged."""
        return self._log.tail()

    def check_healthy(self, when: str) -> None:
        """Say so if it has ended, or fills the disk with its log.

        Raises
        ------
        ProcessError
            With the tail of its log.
        """
        if self.returncode is not None:
            raise self.error(f"died {when}")
        if self._log.is_too_long:
            raise self.error(f"filled its log {when}, which costs time and the disk's room; let it log less")

    def error(self, what: str) -> ProcessError:
        """An error about this process that ends with the tail of its log."""
        return ProcessError(f"{self.name} {what}\n--- its log ends with ---\n{self.log_tail() or '(nothing)'}")

    def wait_until_ready(
        self,
        url: str,
        deadline_s: float,
        *,
        find_obstacle: Callable[[], str | None] = lambda: None,
        explain_silence: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait until `url` answers 200.

        Parameters
        ----------
        find_obstacle:
            Says why the process will not answer there; None while nothing shows that. Called from time to time.
        explain_silence:
            Says half a sentence when it has ended or the deadline has passed.

        Raises
        ------
        ProcessError
            When the process ends first, an obstacle lasts, or the deadline passes.
        """
        start_s = looked_s = clear_s = time.monotonic()
        while time.monotonic() < start_s + deadline_s:
            if self.returncode is not None:
                raise self.error(f"ended with status {self.returncode} before it was ready{explain_silence()}")
            self.check_healthy("before it was ready")
            if answers_200(url):
                return
            if time.monotonic() >= looked_s + _LOOK_EVERY_S:
                obstacle, looked_s = find_obstacle(), time.monotonic()
                if obstacle is None:
                    clear_s = looked_s
                elif looked_s >= clear_s + _OBSTACLE_LASTS_S:
                    raise self.error(obstacle)
            time.sleep(_POLL_S)
        raise self.error(f"was not ready within {deadline_s:g} s ({url}){explain_silence()}")

    def exchange(self, line: str, deadline_s: float) -> str:
        """Write one line to its stdin and return the next line of its stdout.

        Raises
        ------
        ProcessError
            When the process ends or the deadline passes.
        """
        self.write_line(line)
        return self.read_line(deadline_s)

    def write_line(self, line: str) -> None:
        """Write one line to its stdin.

        Raises
        ------
        ProcessError
            When the process has ended.
        """
        assert self._process.stdin is not None, "started without pipes"
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.error(f"ended with status {self._process.wait()}") from None

    def read_line(self, deadline_s: float) -> str:
        """The next line of its stdout; errors as in `exchange`."""
        assert self._process.stdout is not None, "started without pipes"
        # readline can't time out by itself: past the deadline the process is killed, which ends the pipe.
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            self._signal_group(signal.SIGKILL)

        watchdog = threading.Timer(deadline_s, give_up)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if line.endswith("\n"):  # else it was cut off by the end of the process
            return line
        if expired.is_set():
            raise self.error(f"did not answer within {deadline_s:g} s")
        raise self.error(f"ended with status {self._process.wait()}")

    def pause(self) -> None:
        """Stop it and its children where they stand, so that they take no CPU; nothing if it has ended or is to end."""
        if not self._is_stopping:
            self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`; nothing if it has ended."""
        self._signal_group(signal.SIGCONT)

    def stop(self, grace_s: float = 30.0) -> None:
        """Ask it to end (SIGTERM to it alone), wait, then kill what is left of its group. Can be called again."""
        self._is_stopping = True
        try:
            if self.returncode is None:
                # A paused process first goes on: a signal that waits for it may be taken by a thread that can't act.
                self.resume()
                self._process.terminate()
                try:
                    self._process.wait(grace_s)
                except subprocess.TimeoutExpired:
                    pass  # killed below, with its children
        finally:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass  # it ended before it read its last line
            self._log.remove()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # nothing is left of it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

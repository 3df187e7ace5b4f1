"""Start, wait for, pause and stop a measured process, which is given as a command, a folder and an environment."""

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
from servegate.processes.signals import send_to_main_thread

_POLL_S = 0.05
# Seconds between two looks for an obstacle: a look is slow, because it lists the sockets of all child processes.
_LOOK_EVERY_S = 2.0
# A server may open a port for its management long before its own port, and until then the port looks like an obstacle.
# So an obstacle ends the wait only if every look has found one for this long.
_OBSTACLE_LASTS_S = 30.0


class ManagedProcess:
    """A process that runs in a session of its own and logs to a file. `stop` ends it with all its children.

    Parameters
    ----------
    command:
        Program and arguments.
    cwd:
        The folder that it runs in.
    env:
        Environment variables that it gets in addition to those of this process.
    name:
        The name that messages use for it.
    pipes:
        Whether its stdin and stdout are pipes, which `exchange` needs; its stderr always goes to the log.
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
        """The process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._process.poll()

    def log_tail(self) -> str:
        """Return the last lines that it logged."""
        return self._log.tail()

    def check_healthy(self, when: str) -> None:
        """Raise an error if the process has ended or has written too much to its log.

        Raises
        ------
        ProcessError
            In both cases; the message ends with the tail of the log.
        """
        if self.returncode is not None:
            raise self.error(f"died {when}")
        if self._log.is_too_long:
            raise self.error(f"filled its log {when}, which takes CPU time and disk space; make it log less")

    def error(self, what: str) -> ProcessError:
        """Make an error about this process; its message ends with the tail of the log."""
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
            Returns the reason why the process will not answer at `url`; None while nothing shows that. It is called
            every few seconds.
        explain_silence:
            Returns the end of the error's message, which may be empty, if the process ends or the deadline passes.

        Raises
        ------
        ProcessError
            If the process ends, an obstacle lasts, or the deadline passes before `url` answers 200.
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
            If the process ends or the deadline passes.
        """
        self.write_line(line)
        return self.read_line(deadline_s)

    def write_line(self, line: str) -> None:
        """Write one line to its stdin.

        Raises
        ------
        ProcessError
            If the process has ended.
        """
        assert self._process.stdin is not None, "started without pipes"
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.error(f"ended with status {self._process.wait()}") from None

    def read_line(self, deadline_s: float) -> str:
        """Return the next line of its stdout; raises the same errors as `exchange`."""
        assert self._process.stdout is not None, "started without pipes"
        # readline has no timeout: at the deadline the watchdog kills the process, which closes the pipe.
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
        if line.endswith("\n"):  # without it, the process ended before it had written the whole line
            return line
        if expired.is_set():
            raise self.error(f"did not answer within {deadline_s:g} s")
        raise self.error(f"ended with status {self._process.wait()}")

    def pause(self) -> None:
        """Pause the process and its children, so that they use no CPU; no effect if it has ended or is to end."""
        if not self._is_stopping:
            self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process and its children after `pause`; no effect if it has ended."""
        self._signal_group(signal.SIGCONT)

    def ask_to_end(self) -> None:
        """Resume it if it is paused, and send it SIGTERM, once; `stop` waits for it.

        A signal for a process goes to any of its threads that doesn't block it. Threads that were just resumed look for
        signals. If one of them takes it, a main thread that waits in a system call doesn't learn of it, and in CPython
        the main thread alone calls handlers. So the signal is sent to the main thread.
        """
        if self._is_stopping or self.returncode is not None:
            return
        self._is_stopping = True
        self.resume()
        if not send_to_main_thread(self.pid, signal.SIGTERM):
            self._process.terminate()

    def stop(self, grace_s: float = 30.0) -> None:
        """Ask the process alone to end, wait, then kill the rest of its group. It is safe to call this twice."""
        try:
            self.ask_to_end()
            if self.returncode is None:
                try:
                    self._process.wait(grace_s)
                except subprocess.TimeoutExpired:
                    pass  # the process and its children are killed below
        finally:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass  # the process ended before it read its last line
            self._log.remove()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # the whole group has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

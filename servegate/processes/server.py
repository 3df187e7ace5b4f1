"""A server that is measured: on a free port, ready when it says so, and gone with its port when it is stopped."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from servegate.errors import ProcessError
from servegate.processes.elsewhere import explain_silence, find_elsewhere
from servegate.processes.managed import ManagedProcess
from servegate.processes.ports import free_port, is_port_free

_PORT = "{port}"
_POLL_S = 0.05
# A killed process holds its port until the kernel has taken it apart.
_PORT_FREE_DEADLINE_S = 10.0


class ServerProcess:
    """A server on a free port of 127.0.0.1 that can be started afresh.

    Parameters
    ----------
    command:
        Program and arguments. `{port}` in one of them, or in a value of `env`, stands for the port; where it is in
        none, `--host 127.0.0.1 --port PORT` is added to the command.
    cwd, env:
        As in `ManagedProcess`.
    health_path:
        Answers 200 when the server is ready.
    ready_deadline_s:
        Seconds from start to that.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        health_path: str = "/health",
        ready_deadline_s: float,
    ) -> None:
        self._command = tuple(command)
        self._env = dict(env or {})
        if not any(_PORT in text for text in (*self._command, *self._env.values())):
            self._command += ("--host", "127.0.0.1", "--port", _PORT)
        self._cwd = cwd
        self._health_path = health_path
        self._ready_deadline_s = ready_deadline_s
        self._process: ManagedProcess | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> ManagedProcess:
        """The running process.

        Raises
        ------
        ProcessError
            When it isn't running.
        """
        if self._process is None:
            raise ProcessError("the server is stopped")
        return self._process

    def launch(self) -> None:
        """Start it on a free port, and don't wait for it."""
        self.stop()
        self.port = free_port()
        command = [text.replace(_PORT, str(self.port)) for text in self._command]
        env = {name: text.replace(_PORT, str(self.port)) for name, text in self._env.items()}
        self._process = ManagedProcess(command, cwd=self._cwd, env=env, name="the server")

    def wait_until_ready(self) -> None:
        """Wait for what was launched. Another thread may stop it meanwhile."""
        process = self.process
        process.wait_until_ready(
            self.url + self._health_path,
            self._ready_deadline_s,
            find_obstacle=lambda: find_elsewhere(process.pid, self.port, self._health_path),
            explain_silence=lambda: explain_silence(process.pid, self.port, process.log_tail()),
        )

    def start(self) -> None:
        """Start it on a free port and wait until it is ready; if it doesn't get ready it is stopped."""
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, if it runs, and check that its port is free again.

        Raises
        ------
        ProcessError
            When something still listens on its port.
        """
        if self._process is None:
            return
        self._process.stop()
        self._process = None
        end_s = time.monotonic() + _PORT_FREE_DEADLINE_S
        while not is_port_free(self.port):
            if time.monotonic() >= end_s:
                raise ProcessError(f"the server has ended, but something still listens on its port {self.port}")
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

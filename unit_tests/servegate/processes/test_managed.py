"""Processes that are started, talked to and stopped: real ones, with every way in which they can fail."""

import os
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from servegate.errors import ProcessError
from servegate.processes import log as process_log
from servegate.processes import managed as processes
from servegate.processes import server as server_module
from servegate.processes.managed import ManagedProcess
from servegate.processes.ports import free_port, is_port_free
from servegate.processes.server import ServerProcess
from unit_tests.builders import programs
from unit_tests.builders.waiting import is_running, wait_until

DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def log_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where logs go in these tests."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr(processes, "guard", lambda: SimpleNamespace(folder=folder, environment={}))
    return folder


def start(program: str, *arguments: str, env: Mapping[str, str] | None = None, pipes: bool = False) -> ManagedProcess:
    command = [sys.executable, "-c", program, *arguments]
    return ManagedProcess(command, cwd=Path.cwd(), env=env or {}, name="the program", pipes=pipes)


def server(*more: str, env: Mapping[str, str] | None = None, deadline_s: float = DEADLINE_S) -> ServerProcess:
    command = [sys.executable, "-c", programs.SERVER + "\n".join(more)]
    return ServerProcess(command, cwd=Path.cwd(), env=env, ready_deadline_s=deadline_s)


def pid_in(file: Path) -> int:
    """The process id that a program has written once it was ready."""
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"), f"{file.name} is written")
    return int(file.read_text())


@pytest.fixture
def stranger_port() -> Iterator[int]:
    """A port where something answers each connection with a line that isn't HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # shut down
                with connection:
                    connection.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


class TestManagedProcess:
    """A process with its log, alone."""

    def test_it_runs_in_its_folder_with_its_variables_on_top_of_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OURS", "1")
        program = "import os; print(os.getcwd(), os.environ['OURS'], os.environ['ITS'])"
        command = [sys.executable, "-c", program]
        with ManagedProcess(command, cwd=tmp_path, env={"ITS": "2"}, name="the program", pipes=True) as process:
            assert process.read_line(DEADLINE_S) == f"{tmp_path} 1 2\n"

    def test_a_command_that_does_not_exist_is_named(self, log_folder: Path) -> None:
        with pytest.raises(ProcessError, match=r"the program can't be started with 'no-such-command': No such file"):
            ManagedProcess(["no-such-command"], cwd=Path.cwd(), env={}, name="the program")
        assert list(log_folder.iterdir()) == []

    def test_its_log_is_gone_with_it(self, log_folder: Path) -> None:
        with start("import sys; sys.exit('last words')") as process:
            wait_until(lambda: process.returncode is not None, "it has ended")
            assert process.log_tail() == "last words"
            assert len(list(log_folder.iterdir())) == 1
        assert list(log_folder.iterdir()) == []
        assert process.log_tail() == ""

    def test_an_error_ends_with_the_last_lines_of_the_log(self) -> None:
        with start("for number in range(100): print('line', number)") as process:
            wait_until(lambda: process.returncode is not None, "it has ended")
            lines = str(process.error("has failed")).splitlines()
        assert lines[:2] == ["the program has failed", "--- its log ends with ---"]
        assert lines[2:] == [f"line {number}" for number in range(75, 100)]

    def test_an_error_says_so_when_nothing_was_logged(self) -> None:
        with start("pass") as process:
            assert str(process.error("has failed")).endswith("(nothing)")

    def test_of_a_long_log_the_end_is_read(self) -> None:
        with start(
            f"import sys\nsys.stderr.write('x' * 9_000_000 + '\\nthe last line\\n')\n{programs.ECHO}", pipes=True
        ) as it:
            it.exchange("it has logged", DEADLINE_S)
            assert it.log_tail().endswith("\nthe last line")
            assert len(it.log_tail()) < 10_000

    def test_one_that_fills_the_disk_with_its_log_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_log, "_MAX_BYTES", 1_000_000)
        program = "import sys\nfor _ in sys.stdin: sys.stderr.write('noise ' * 100_000); print('done', flush=True)"
        with start(program, pipes=True) as it:
            it.exchange("go on", DEADLINE_S)
            it.check_healthy("while it was measured")
            it.exchange("go on", DEADLINE_S)
            with pytest.raises(ProcessError, match=r"filled its log while it was measured, (?s:.*)noise noise"):
                it.check_healthy("while it was measured")

    def test_stop_ends_it_and_can_be_called_again(self) -> None:
        process = start("import signal; signal.pause()")
        assert is_running(process.pid)
        process.stop()
        assert process.returncode == -signal.SIGTERM
        process.stop()

    def test_it_can_be_asked_to_end_before_it_is_waited_for(self) -> None:
        """It is asked once: a second SIGTERM would hurry a server that drains."""
        program = (
            "import signal, sys, time\n"
            "asked = []\n"
            "signal.signal(signal.SIGTERM, lambda *_: asked.append(1))\n"
            "print('waits', flush=True)\n"
            "while not asked: time.sleep(0.01)\n"
            "time.sleep(0.3)\n"
            "sys.exit(10 + len(asked))"
        )
        process = start(program, pipes=True)
        process.read_line(DEADLINE_S)
        process.ask_to_end()
        process.ask_to_end()
        process.stop()
        assert process.returncode == 11

    def test_stop_kills_it_when_it_ignores_sigterm(self, tmp_path: Path) -> None:
        process = start(programs.STUBBORN, str(tmp_path / "pid"))
        assert pid_in(tmp_path / "pid") == process.pid
        process.stop(grace_s=0.1)
        assert process.returncode == -signal.SIGKILL

    def test_stop_kills_grandchildren_that_ignore_sigterm(self, tmp_path: Path) -> None:
        process = start(programs.PARENT, programs.PARENT, programs.STUBBORN, str(tmp_path / "pid"))
        grandchild = pid_in(tmp_path / "pid")
        assert is_running(grandchild)
        process.stop()
        wait_until(lambda: not is_running(grandchild), "the grandchild is dead")

    def test_stop_kills_the_children_of_a_process_that_has_already_died(self, tmp_path: Path) -> None:
        process = start(programs.PARENT, programs.STUBBORN, str(tmp_path / "pid"))
        child = pid_in(tmp_path / "pid")
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: process.returncode is not None, "the parent is dead")
        process.stop()
        wait_until(lambda: not is_running(child), "the child is dead")

    def test_an_error_inside_the_context_stops_it_too(self) -> None:
        with pytest.raises(KeyError), start("import signal; signal.pause()") as process:
            raise KeyError
        assert process.returncode is not None


class TestExchange:
    """A process that is talked to line by line."""

    def test_every_line_is_answered(self) -> None:
        with start(programs.ECHO, pipes=True) as process:
            assert process.exchange("one", DEADLINE_S) == "ONE\n"
            assert process.exchange("two", DEADLINE_S) == "TWO\n"

    def test_stderr_goes_to_the_log_and_not_between_the_answers(self) -> None:
        with start("import sys; print('noise', file=sys.stderr); print('answer')", pipes=True) as process:
            assert process.read_line(DEADLINE_S) == "answer\n"
            wait_until(lambda: process.log_tail() == "noise", "the noise is logged")

    @pytest.mark.parametrize(
        "program",
        ["import signal; signal.pause()", "import signal; print('half an ans', end='', flush=True); signal.pause()"],
    )
    def test_no_whole_answer_within_the_deadline_is_an_error(self, program: str) -> None:
        """And the process is dead, so that nobody reads a late answer as the next one."""
        with start(program, pipes=True) as process:
            with pytest.raises(ProcessError, match=r"the program did not answer within 1 s"):
                process.exchange("question", deadline_s=1.0)
            wait_until(lambda: process.returncode is not None, "it is dead")

    @pytest.mark.parametrize("output", ["", "half an ans"])
    def test_a_process_that_ends_instead_of_answering_is_an_error(self, output: str) -> None:
        program = f"import sys; input(); print({output!r}, end=''); sys.exit('no memory left')"
        with (
            start(program, pipes=True) as process,
            pytest.raises(ProcessError, match=r"(?s)the program ended with status 1\n.*no memory left$"),
        ):
            process.exchange("question", DEADLINE_S)

    def test_a_question_to_a_process_that_has_ended_is_an_error(self, log_folder: Path) -> None:
        """Whether the pipe breaks when writing or when reading; and it can still be stopped."""
        with start("import sys; sys.exit('bye')", pipes=True) as process:
            wait_until(lambda: process.returncode is not None, "it has ended")
            with pytest.raises(ProcessError, match=r"(?s)ended with status 1\n.*bye$"):
                process.exchange("question", DEADLINE_S)
        assert list(log_folder.iterdir()) == []


class TestServerProcess:
    """A server that is started until it is ready, and stopped until its port is free."""

    def test_it_is_ready_inside_the_context_and_its_port_is_free_afterwards(self, log_folder: Path) -> None:
        with server() as running:
            with urllib.request.urlopen(f"{running.url}/health") as response:
                assert response.status == 200
            assert not is_port_free(running.port)
        assert is_port_free(running.port)
        assert list(log_folder.iterdir()) == []

    def test_it_is_asked_again_while_it_answers_503(self) -> None:
        with (
            server(env={"NOT_READY": "3"}) as running,
            urllib.request.urlopen(f"{running.url}/health") as response,
        ):
            assert response.status == 200

    def test_a_proxy_of_the_environment_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setattr(urllib.request, "_opener", None)  # it would remember the environment of its first use
        with server(deadline_s=20.0) as running:
            assert running.process.returncode is None

    def test_not_ready_within_the_deadline_is_an_error_and_leaves_nothing(self, log_folder: Path) -> None:
        not_ready = server(env={"NOT_READY": "1000000"}, deadline_s=1.0)
        with pytest.raises(ProcessError, match=r"the server was not ready within 1 s \(http://127.0.0.1:\d+/health\)"):
            not_ready.start()
        assert is_port_free(not_ready.port)
        assert list(log_folder.iterdir()) == []

    def test_dying_before_it_is_ready_is_an_error_at_once_with_its_log(self) -> None:
        """At once: the deadline is an hour."""
        dying = ServerProcess(
            [sys.executable, "-c", "import sys; sys.exit('no such model')"], cwd=Path.cwd(), ready_deadline_s=3600.0
        )
        with pytest.raises(ProcessError, match=r"(?s)ended with status 1 before it was ready\n.*no such model$"):
            dying.start()

    def test_filling_its_log_before_it_is_ready_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_log, "_MAX_BYTES", 1_000)
        program = f"import sys\nprint('noise ' * 1_000, file=sys.stderr, flush=True)\n{programs.SERVER}"
        noisy = ServerProcess(
            [sys.executable, "-c", program], cwd=Path.cwd(), env={"NOT_READY": "1000000"}, ready_deadline_s=DEADLINE_S
        )
        with pytest.raises(ProcessError, match="the server filled its log before it was ready"), noisy:
            pass

    def test_something_else_on_its_port_does_not_make_it_ready(self, stranger_port: int) -> None:
        """What answers there speaks no HTTP."""
        with (
            start("import signal; signal.pause()") as process,
            pytest.raises(ProcessError, match=r"was not ready within 0.5 s"),
        ):
            process.wait_until_ready(f"http://127.0.0.1:{stranger_port}/health", deadline_s=0.5)

    def test_start_again_gives_a_fresh_process(self) -> None:
        with server() as running:
            first = running.process.pid
            running.start()
            assert running.process.pid != first
            assert not is_running(first)
            with urllib.request.urlopen(f"{running.url}/health") as response:
                assert response.status == 200

    def test_a_stopped_server_has_no_process(self) -> None:
        with server() as running:
            running.stop()
            with pytest.raises(ProcessError, match="the server is stopped"):
                _ = running.process
            running.stop()

    def test_a_child_that_listens_for_it_is_killed_and_the_port_is_free(self) -> None:
        """Workers outlive a main process that is killed; until the port is free, the next server can't have it."""
        for _ in range(5):
            listening = ServerProcess(
                [sys.executable, "-c", programs.PARENT, programs.SERVER], cwd=Path.cwd(), ready_deadline_s=DEADLINE_S
            )
            listening.start()
            listening.stop()
            assert is_port_free(listening.port)

    def test_a_port_that_stays_taken_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Here by a child that has left the server's session."""
        monkeypatch.setattr(server_module, "_PORT_FREE_DEADLINE_S", 0.2)
        program = programs.RUNAWAY + programs.SERVER
        runaway = ServerProcess(
            [sys.executable, "-c", programs.PARENT, program, str(tmp_path / "pid")],
            cwd=Path.cwd(),
            ready_deadline_s=DEADLINE_S,
        )
        runaway.start()
        try:
            with pytest.raises(ProcessError, match=f"still listens on its port {runaway.port}"):
                runaway.stop()
        finally:
            os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)


def test_a_free_port_can_be_listened_on_and_is_then_no_longer_free() -> None:
    port = free_port()
    assert is_port_free(port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_port_free(port)

"""A server that is started on a free port, told to it as its command or environment has it."""

import re
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from servegate.errors import ProcessError
from servegate.processes import managed
from servegate.processes.server import ServerProcess

# Answers at /ready alone; the port comes as the last argument or from PORT.
SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
        self.wfile.write(" ".join(sys.argv[1:]).encode())

http.server.HTTPServer(("127.0.0.1", int(os.environ.get("PORT") or sys.argv[-1])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "seen"),
    [
        ([], {}, "--host 127.0.0.1 --port {port}"),
        (["--bind", "127.0.0.1:{port}", "{port}"], {}, "--bind 127.0.0.1:{port} {port}"),
        (["serve"], {"PORT": "{port}"}, "serve"),
    ],
)
def test_the_port_stands_where_the_project_says(arguments: list[str], environment: dict[str, str], seen: str) -> None:
    command = [sys.executable, "-c", SERVER, *arguments]
    with ServerProcess(command, cwd=Path.cwd(), env=environment, health_path="/ready", ready_deadline_s=60.0) as server:
        with urllib.request.urlopen(f"{server.url}/ready") as response:
            assert response.read().decode() == seen.replace("{port}", str(server.port))
        first = server.port
        server.start()
        assert server.port != first


def test_a_wrong_health_path_is_told_with_the_url() -> None:
    server = ServerProcess([sys.executable, "-c", SERVER], cwd=Path.cwd(), health_path="/health", ready_deadline_s=1.0)
    with pytest.raises(ProcessError, match=r"was not ready within 1 s \(http://127.0.0.1:\d+/health\)"):
        server.start()


# Takes no port from anywhere, as LitServe's first example: it has one of its own, which it writes to argv[1].
ELSEWHERE = """
import http.server, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in sys.argv[2:] or "any path" in sys.argv else 404)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
pathlib.Path(sys.argv[1]).write_text(str(server.server_port))
server.serve_forever()
"""
ADVICE = r"; let it take the port from its command line .*HttpService\(command, environment={'PORT': '{port}'}\)"


def elsewhere(tmp_path: Path, *paths: str, deadline_s: float) -> ServerProcess:
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "port"), *paths, "{port}"]
    return ServerProcess(command, cwd=Path.cwd(), ready_deadline_s=deadline_s)


def test_a_server_that_answers_on_a_port_of_its_own_is_told_so_before_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the port as soon as the obstacle has lasted; the deadline would be a failure of this test."""
    monkeypatch.setattr(managed, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(managed, "_OBSTACLE_LASTS_S", 1.0)
    server = elsewhere(tmp_path, "/health", deadline_s=600.0)
    with pytest.raises(ProcessError) as raised:
        server.start()
    own = (tmp_path / "port").read_text()
    assert re.match(f"the server answers on port {own}, but was given port {server.port}{ADVICE}", str(raised.value))


@pytest.mark.parametrize("paths", [("/another",), ("any path",)])
def test_a_port_that_may_be_for_something_else_is_told_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: tuple[str, ...]
) -> None:
    """A server may open a port for metrics long before it is ready."""
    monkeypatch.setattr(managed, "_LOOK_EVERY_S", 0.1)
    server = elsewhere(tmp_path, *paths, deadline_s=2.0)
    with pytest.raises(ProcessError) as raised:
        server.start()
    own = (tmp_path / "port").read_text()
    assert re.search(
        rf"not ready within 2 s \(.*\): it listens on port {own}, but was given port {server.port}{ADVICE}",
        str(raised.value),
    )


def test_a_server_whose_own_port_is_taken_is_told_so() -> None:
    """As the second one of a comparison side by side, if both have the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = f"import socket; socket.create_server(('127.0.0.1', {taken.getsockname()[1]}))"
        server = ServerProcess([sys.executable, "-c", program, "{port}"], cwd=Path.cwd(), ready_deadline_s=60.0)
        with pytest.raises(ProcessError, match=rf"ended with status 1 .*: it wanted a port that is in use, .*{ADVICE}"):
            server.start()


# Listens on a port that is always ready, and argv[1] seconds later on that of argv[-1]. There it answers 503 for a
# second and then 200.
TWO_PORTS = """
import http.server, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_ready = self.server is other or time.monotonic() > start_s + 1.0
        self.send_response((200 if is_ready else 503) if self.path == "/health" else 404)
        self.end_headers()

other = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=other.serve_forever, daemon=True).start()
time.sleep(float(sys.argv[1]))
given, start_s = http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler), time.monotonic()
given.serve_forever()
"""


@pytest.mark.parametrize("opens_after_s", ["0", "1"])
def test_a_server_that_has_another_port_besides_the_given_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, opens_after_s: str
) -> None:
    """A port for management may be ready before the server opens its own."""
    monkeypatch.setattr(managed, "_LOOK_EVERY_S", 0.0)
    command = [sys.executable, "-c", TWO_PORTS, opens_after_s, "{port}"]
    with ServerProcess(command, cwd=Path.cwd(), ready_deadline_s=60.0) as server:
        assert server.process.returncode is None

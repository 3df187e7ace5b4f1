"""A server that is started on a free port, told to it as its command or environment has it."""

import sys
import urllib.request
from pathlib import Path

import pytest

from servegate.errors import ProcessError
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

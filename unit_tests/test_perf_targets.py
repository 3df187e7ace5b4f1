"""What the performance tests ask a running server, also one of an older commit."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from perf_tests.targets import describe_server

SERVER = {"devices": ["cpu"], "workers_per_device": 2}
ALWAYS = {"server devices": "['cpu']", "server workers_per_device": "2"}
MODEL = {"engine": "openvino", "precision": "float32", "device": "cpu", "threads": 1}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, dict.fromkeys(("engine", "precision", "device", "threads"), "unknown")),
        (MODEL, {"engine": "openvino", "precision": "float32", "device": "cpu", "threads": "1"}),
        (
            {**MODEL, "engine": "eager", "fallback": "no compiler"},
            {"engine": "eager", "precision": "float32", "device": "cpu", "threads": "1", "fallback": "no compiler"},
        ),
    ],
)
def test_a_server_says_how_the_model_runs(model: Mapping[str, object] | None, expected: Mapping[str, str]) -> None:
    class Info(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"model": model, "server": SERVER}).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Info) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        details = describe_server(f"http://127.0.0.1:{server.server_port}")
    assert details == {**ALWAYS, **{f"server {name}": value for name, value in expected.items()}}

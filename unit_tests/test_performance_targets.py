"""What the performance tests ask a running server for."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from perf_tests.targets import describe_server

_INFO = b"""{
  "server": {"devices": ["cpu"], "workers_per_device": 2, "timeout": 30},
  "model": {"engine": "eager", "precision": "float32", "device": "cpu", "threads": 1, "fallback": "no compiler"}
}"""


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a service that answers each GET as LitServe's /info does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + _INFO)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()
        thread.join()


@pytest.mark.parametrize("proxy", ["", "HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_server_says_how_it_runs_and_no_proxy_is_asked(proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment can't reach what listens here."""
    if proxy:
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    assert describe_server(url) == {
        "server devices": "['cpu']",
        "server workers_per_device": "2",
        "server engine": "eager",
        "server precision": "float32",
        "server device": "cpu",
        "server threads": "1",
        "server fallback": "no compiler",
    }

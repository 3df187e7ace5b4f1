"""The first answer of a fresh service, which ends its start."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from servegate.load.workload import Workload
from servegate.measure.http import launched_server
from servegate.measure.http.launched_server import is_answered_rightly


class _Streaming(BaseHTTPRequestHandler):
    """Streams `true` in two pieces, cuts it off, or streams comments until the client has gone."""

    def do_POST(self) -> None:
        self.send_response(200)
        if self.path == "/is-cut-off":
            self.send_header("Content-Length", "9")
        self.end_headers()
        pieces = iter(lambda: b": still here\n", b"") if self.path == "/goes-on" else iter([b"tr", b"ue"])
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except ConnectionError:
            pass  # the client has gone

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Streaming) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_in_pieces_is_read_to_its_end(url: str) -> None:
    assert is_answered_rightly(url, Workload("/ends", b"", expected=True))
    assert not is_answered_rightly(url, Workload("/ends", b"", expected=False))


def test_the_beginning_of_an_answer_is_not_the_answer(url: str) -> None:
    assert not is_answered_rightly(url, Workload("/is-cut-off", b"", expected=True))


def test_an_answer_that_never_ends_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its pieces comes in time."""
    monkeypatch.setattr(launched_server, "_FIRST_ANSWER_S", 0.2)
    assert not is_answered_rightly(url, Workload("/goes-on", b"", expected=True))

"""The simple client prints a line a file, and says in one sentence why there is no answer."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from perf_tests.photos import cat_jpeg
from servegate.processes.ports import free_port
from service.client import main
from unit_tests.builders.repository import ROOT


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The cat as a JPEG file."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(cat_jpeg())
    return path


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.client", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def _another_service(answer: bytes) -> Iterator[str]:
    """The URL of a service that answers each POST with these bytes and then closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.wfile.write(answer)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_port}"
        finally:
            service.shutdown()
            thread.join()


def test_without_a_server_the_sentence_says_how_to_start_one(photo: Path) -> None:
    """Status 2, and no second file is tried."""
    url = f"http://127.0.0.1:{free_port()}"
    finished = _run(str(photo), str(photo), "--url", url)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == f"no server answers at {url}; start one with: make serve\n"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "no-url", "", "ftp://127.0.0.1", "http://", "http://[::1", "http://a b"]
)
def test_what_is_no_url_is_called_so(url: str, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with an example of a URL."""
    assert main([str(photo), "--url", url]) == 2
    assert "is not a URL such as http://127.0.0.1:8000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n<html>hello</html>", "is no image classifier: it answers 200 OK"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1, 2]", "is no image classifier: it answers 200 OK"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"predictions": [{"label": "Cat"}]}', "is no image classifier: it answers 200 OK"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", "is no image classifier: it answers 502 Bad Gateway"),
        (b'HTTP/1.0 404 Not Found\r\n\r\n{"detail": "Not Found"}', "the server refuses it (404): Not Found"),
    ],
)
def test_another_service_is_recognised(
    answer: bytes, problem: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it answers, it is a sentence and status 1."""
    with _another_service(answer) as url:
        assert main([str(photo), "--url", url]) == 1
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"no HTTP", b"HTTP/1.0 200 OK\r\ncontent-length: 100\r\n\r\n{"])
def test_an_answer_that_breaks_off_is_no_server(answer: bytes, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that is closed too early is a sentence and status 2, not a traceback."""
    with _another_service(answer) as url:
        assert main([str(photo), "--url", url]) == 2
        assert url in capsys.readouterr().err


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    proxy: str, host: str, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It couldn't reach what listens here."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    answer = b'HTTP/1.0 200 OK\r\n\r\n{"predictions": [{"label": "Cat", "probability": 1}]}'
    with _another_service(answer) as url:
        assert main([str(photo), "--url", url.replace("127.0.0.1", host)]) == 0
    assert "Cat 100.0%" in capsys.readouterr().out


def test_a_proxy_of_the_environment_is_asked_for_another_machine(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be the only way there."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    answer = b'HTTP/1.0 200 OK\r\n\r\n{"predictions": [{"label": "Cat", "probability": 1}]}'
    with _another_service(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert main([str(photo), "--url", "http://classifier.example.org"]) == 0


def test_without_a_file_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 from the command line's parser."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "photo.jpg" in capsys.readouterr().err

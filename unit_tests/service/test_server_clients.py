"""The real server as other people's clients meet it: all kinds of requests, connections that stay, and too many."""

import asyncio
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from selectors import EVENT_READ, DefaultSelector
from typing import cast

import aiohttp
import psutil
import pytest

from perf_tests.photos import cat_jpeg
from servegate.processes.server import ServerProcess
from tools.stress.bad_requests import MAX_IMAGE_BYTES, bad_requests
from tools.stress.soak import GoodRequest, Soak, Tally, good_requests
from unit_tests.builders.repository import ROOT

_FILES = 256
_LIMITED = ["sh", "-c", f'ulimit -n {_FILES}; exec "$@"', "sh"]
_TIMEOUT_S = 60.0
# uvicorn's own, which is below that of every load balancer.
_UVICORNS_KEEP_ALIVE_S = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that may have few files open."""
    flags = ["--workers-per-device", "1", "--api-processes", "1", "--max-image-bytes", str(MAX_IMAGE_BYTES)]
    command = [*_LIMITED, sys.executable, "-m", "service.server", *flags]
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path_factory.mktemp("metrics"))}
    with ServerProcess(command, cwd=ROOT, env=environment, ready_deadline_s=180) as running:
        yield running


def _connect(server: ServerProcess) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT_S)
    connection.connect()
    return connection


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection.request(method, path, body or None, {"Content-Type": "image/jpeg"} if body else {})
    response = connection.getresponse()
    return response.status, response.read()


def _is_cat(connection: http.client.HTTPConnection) -> bool:
    status, body = _ask(connection, "POST", "/predict", cat_jpeg())
    return status == 200 and json.loads(body)["predictions"][0]["label"] == "Cat"


def test_every_kind_of_request_has_its_answer(server: ServerProcess) -> None:
    """Those that the soak chooses from."""
    bad = bad_requests()

    async def send_all() -> tuple[list[GoodRequest], Tally]:
        good = await good_requests(server.url)
        soak = Soak(server.url, good, bad)
        async with aiohttp.ClientSession() as session:
            for request in good:
                await soak.send_good(session, request)
            await soak.send_head(session)
        for bad_request in bad:
            await soak.send_bad(bad_request)
        return good, soak.tally

    good, tally = asyncio.run(send_all())
    assert (tally.good, tally.bad) == (len(good) + 1, len(bad)), tally
    cats = [request.cat for request in good]
    assert min(cats) < 0.5 < 0.95 < max(cats), "an answer that belongs to another request is noticed"


def test_an_idle_connection_outlives_a_pause(server: ServerProcess) -> None:
    """Whoever keeps one, as a load balancer does, has his next request answered on it."""
    with closing(_connect(server)) as connection:
        before = connection.sock
        assert _is_cat(connection)
        assert _ask(connection, "HEAD", "/health") == (200, b"")
        time.sleep(_UVICORNS_KEEP_ALIVE_S + 1)
        assert _is_cat(connection)
        assert connection.sock is before, "http.client would open another one without a word"


def _readable(sockets: list[socket.socket]) -> list[socket.socket]:
    # select.select() takes no file whose number is 1024 or more.
    with DefaultSelector() as selector:
        for connection in sockets:
            selector.register(connection, EVENT_READ)
        return [cast("socket.socket", key.fileobj) for key, _ in selector.select(0)]


def test_more_connections_than_files_are_told_so_and_cost_no_time(server: ServerProcess) -> None:
    """Those that there are go on, and while nothing comes the server's processes sleep."""
    with ExitStack() as opened:
        first = opened.enter_context(closing(_connect(server)))
        assert _is_cat(first)
        others = [opened.enter_context(closing(_connect(server))) for _ in range(_FILES + 50)]
        time.sleep(0.5)
        refused = _readable([connection.sock for connection in others])
        assert _FILES // 4 < len(refused) < _FILES, "some fit in"
        assert {connection.recv(65_536)[:13] for connection in refused} == {b"HTTP/1.1 503 "}
        assert all(_ask(other, "GET", "/live") == (200, b"ok") for other in others if other.sock not in refused)
        root = psutil.Process(server.process.pid)
        processes = [root, *root.children(recursive=True)]
        before_s = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(1)
        assert sum(sum(process.cpu_times()[:2]) for process in processes) - before_s < 0.5
        assert _is_cat(first)
    time.sleep(0.2)
    with closing(_connect(server)) as late:
        assert _is_cat(late)
    assert "Too many open files" not in server.process.log_tail()
    assert "Traceback" not in server.process.log_tail()

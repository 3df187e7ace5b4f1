"""A request's head has its time and its size; a client that takes neither costs nothing."""

import asyncio
import json
import logging
import re
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.web.protocol import MAX_HEAD_BYTES, BoundedHttp, raise_file_limit

pytestmark = pytest.mark.anyio

_GET = b"GET / HTTP/1.1\r\nHost: test\r\n"
_SOON_S = 0.3
_KEEP_ALIVE_S = 2
_MOST_CONNECTIONS = 4


async def _app(scope: Scope, receive: Receive, send: Send, may_answer: asyncio.Event | None = None) -> None:
    assert scope["type"] == "http"
    if may_answer is not None:
        await may_answer.wait()
    body, more = b"", True
    if scope["path"] == "/early":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * _SOON_S)
    if scope["path"] == "/later":
        await asyncio.sleep(_KEEP_ALIVE_S + _SOON_S)
    answer = b"fine" if len(body) > 100 or not body else body
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def _served(keep_alive_s: float = _KEEP_ALIVE_S, may_answer: asyncio.Event | None = None) -> AsyncIterator[int]:
    """The port where an application is served, which answers when it may."""
    http = partial(BoundedHttp, head_timeout_s=_SOON_S, max_connections=_MOST_CONNECTIONS, on_closed=lambda: None)
    config = uvicorn.Config(
        partial(_app, may_answer=may_answer),
        interface="asgi3",
        port=0,
        lifespan="off",
        log_level="critical",
        http=http,  # type: ignore[arg-type]
        timeout_keep_alive=keep_alive_s,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


@pytest.fixture
async def port(anyio_backend: str) -> AsyncIterator[int]:
    """Where an application is served."""
    async with _served() as port:
        yield port


class _Client:
    """A connection that says what it's told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, str]:
        """Status and body of the next answer."""
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 30)).decode()
        length = re.search(r"content-length: (\d+)", head)
        assert length
        body = await self._reader.readexactly(int(length[1]))
        return int(head.split()[1]), body.decode()

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self._reader.read(), 30) == b""


@pytest.fixture
async def client(port: int) -> AsyncIterator[_Client]:
    """A client of the application."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield _Client(reader, writer)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", _GET, b"\r\n"])
async def test_a_head_that_does_not_come_is_a_408(client: _Client, begun: bytes) -> None:
    """Also when nothing comes at all."""
    client.writer.write(begun)
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (408, "the request's headers did not come within 0.3 s")
    assert await client.is_closed()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(client: _Client) -> None:
    """It isn't each byte that must come in time."""
    client.writer.write(_GET + b"X: ")
    answer = asyncio.create_task(client.answer())
    while not answer.done():
        client.writer.write(b"x")
        await asyncio.sleep(0.02)
    assert answer.result()[0] == 408


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(_GET + b"X: " + b"x" * 8_000_000, 431, id="a head without an end"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\n\r\n" + b"x" * 8_000_000, 501, id="a tunnel"),
        pytest.param(
            b"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 7_999_999,
            413,
            id="a body that the application doesn't want",
        ),
    ],
)
async def test_a_client_that_still_sends_gets_its_answer(port: int, sent: bytes, status: int) -> None:
    """A reset of its connection would throw the answer away before the client has read it."""
    sender = socket.create_connection(("127.0.0.1", port))
    with sender:
        # All is sent before anything is read, as a simple client does it.
        await asyncio.to_thread(sender.sendall, sent)
        received = await asyncio.to_thread(sender.recv, 65_536)
        assert received.startswith(b"HTTP/1.1 %d " % status)
        while await asyncio.to_thread(sender.recv, 65_536):
            pass  # to the connection's end, which is no reset


async def test_a_client_that_never_ends_is_cut_off(port: int) -> None:
    """Some seconds after its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_GET + b"X: " + b"x" * MAX_HEAD_BYTES)
    assert (await reader.read(65_536)).startswith(b"HTTP/1.1 431")

    async def send_for_ever() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(), 30)


async def test_nonsense_behind_a_request_that_is_being_answered_is_no_error_of_ours(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The server has said that it's done; the answer that comes then has no reader."""
    caplog.set_level(logging.ERROR, "uvicorn.error")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n" + _GET + b"X: " + b"x" * 3 * MAX_HEAD_BYTES)
    assert await asyncio.wait_for(reader.read(), 30) == b""
    await asyncio.sleep(4 * _SOON_S)
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_head_without_an_end_is_a_431(client: _Client) -> None:
    """It isn't kept for longer than it takes to see that it's too long."""
    client.writer.write(_GET + b"X: " + b"x" * MAX_HEAD_BYTES)
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (431, "the request's headers are longer than 65,536 bytes")
    assert await client.is_closed()


async def test_a_body_may_be_longer_and_take_its_time(client: _Client) -> None:
    """Its limits are the application's."""
    for rest in (b"x", b"x" * 150_000):
        client.writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (150_000 + len(rest)) + b"x" * 150_000)
        await asyncio.sleep(2 * _SOON_S)
        client.writer.write(rest)
        assert await client.answer() == (200, "fine")


_CHUNKED_HEAD = b"Host: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


async def test_trailers_without_an_end_close_the_connection(client: _Client) -> None:
    """The application still waits for the body's end, so the client gets no answer."""
    client.writer.write(b"POST / HTTP/1.1\r\n" + _CHUNKED_HEAD + b"0\r\n" + b"X: x\r\n" * 100_000)
    assert await client.is_closed()


async def test_trailers_without_an_end_behind_an_answer_get_no_second_one(client: _Client) -> None:
    client.writer.write(b"POST /early HTTP/1.1\r\n" + _CHUNKED_HEAD)
    assert (await client.answer())[0] == 413
    client.writer.write(b"0\r\n")
    closed = asyncio.create_task(client.is_closed())
    sent = 0
    while not closed.done() and sent < 100 * MAX_HEAD_BYTES:
        client.writer.write(b"X: x\r\n" * 1_000)
        sent += 6_000
        await asyncio.sleep(0)
    assert sent < 100 * MAX_HEAD_BYTES
    assert closed.result()


async def test_a_body_of_many_chunks_is_a_body(client: _Client) -> None:
    """Its chunk sizes are longer than trailers may be, and so are the requests that come with its end."""
    client.writer.write(b"POST / HTTP/1.1\r\n" + _CHUNKED_HEAD)
    await client.writer.drain()
    client.writer.write(b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n" + (_GET + b"\r\n") * 2_500)
    for _ in range(2_501):
        assert await client.answer() == (200, "fine")


async def test_a_head_and_trailers_and_the_next_head_may_each_be_as_long_as_allowed(client: _Client) -> None:
    field = b"X: " + b"x" * (MAX_HEAD_BYTES - 1_000) + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n" + field
    for piece in (head, b"\r\n", b"0\r\n" + field, b"\r\n", _GET + field, b"\r\n"):
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(_SOON_S / 10)  # the server reads it alone
    assert [await client.answer() for _ in range(2)] == [(200, "fine")] * 2


@pytest.mark.parametrize("rest", [b" wor", b" world"], ids=["in part", "whole"])
async def test_an_idle_connection_is_closed_though_its_last_request_was_answered_before_it_had_come(
    client: _Client, rest: bytes
) -> None:
    """The rest of its body does not stop the timer of idle connections."""
    client.writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello")
    assert (await client.answer())[0] == 413
    client.writer.write(rest)
    assert await client.is_closed()


async def test_the_body_of_an_answered_request_has_no_more_time_than_an_idle_connection(client: _Client) -> None:
    """However it comes, byte by byte."""
    client.writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n")
    assert (await client.answer())[0] == 413
    closed = asyncio.create_task(client.is_closed())
    for _ in range(1_000):
        if closed.done():
            break
        client.writer.write(b"x")
        await asyncio.sleep(0.02)
    assert closed.result()


async def test_a_request_behind_an_answered_one_is_not_cut_off(client: _Client) -> None:
    """The end of a body and the next request come in one piece, and the time of an idle connection ends meanwhile."""
    client.writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello")
    assert (await client.answer())[0] == 413
    client.writer.write(b" world" + _GET.replace(b"/", b"/later", 1) + b"\r\n")
    assert await client.answer() == (200, "fine")


async def test_a_request_that_is_answered_late_does_not_count_as_idle(client: _Client) -> None:
    """However its body came; an idle connection would be closed before."""
    for piece in (b"POST /later HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello", b" world"):
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(_SOON_S / 3)
    assert await client.answer() == (200, "hello world")


@pytest.mark.parametrize("is_answered", [True, False], ids=["behind an answer", "before it"])
async def test_a_head_that_has_begun_does_not_count_as_idle(*, is_answered: bool) -> None:
    """It has its own time, and may have more of it than idle connections."""
    may_answer = asyncio.Event()
    async with _served(keep_alive_s=_SOON_S / 3, may_answer=may_answer) as port:
        client = _Client(*await asyncio.open_connection("127.0.0.1", port))
        client.writer.write(_GET + b"\r\n")
        answered = asyncio.create_task(client.answer())
        if is_answered:
            may_answer.set()
            await answered
        else:
            await asyncio.sleep(_SOON_S / 10)  # the server reads the rest alone
        client.writer.write(b"GET")
        await asyncio.sleep(_SOON_S / 10)
        may_answer.set()
        assert await answered == (200, "fine")
        assert (await client.answer())[0] == 408
        client.writer.close()
        await client.writer.wait_closed()


async def test_each_request_of_a_connection_has_its_own_time_and_size(client: _Client) -> None:
    """However long the last was, and however long ago."""
    for _ in range(3):
        client.writer.write(_GET + b"X: " + b"x" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n")
        assert await client.answer() == (200, "fine")
        await asyncio.sleep(2 * _SOON_S)
    client.writer.write(_GET)
    assert (await client.answer())[0] == 408


async def test_requests_that_come_together_are_answered(client: _Client) -> None:
    """The last one's head is cut off; the others have their answers before the connection ends."""
    client.writer.write((_GET + b"\r\n") * 3 + b"GET")
    assert [await client.answer() for _ in range(3)] == [(200, "fine")] * 3
    assert await client.is_closed()


async def test_a_late_head_waits_for_the_answer_before_it(client: _Client) -> None:
    """A request that is being answered isn't cut off."""
    client.writer.write(_GET.replace(b"/", b"/slow", 1) + b"\r\n")
    await client.writer.drain()
    await asyncio.sleep(_SOON_S / 3)
    client.writer.write(b"GET")
    assert await client.answer() == (200, "fine")
    assert (await client.answer())[0] == 408
    assert await client.is_closed()


async def test_a_refusal_is_never_taken_for_another_requests_answer(client: _Client) -> None:
    """Who sends an endless head before the answer to his last request is there gets neither."""
    client.writer.write(_GET.replace(b"/", b"/slow", 1) + b"\r\n" + _GET)
    await client.writer.drain()
    await asyncio.sleep(_SOON_S / 3)
    client.writer.write(b"X: " + b"x" * MAX_HEAD_BYTES)
    assert await client.is_closed()


_JAVA = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
_SIZED = "Content-Length: 5\r\n\r\nhello"
_CHUNKED = "Transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
_OFFERS = {
    "h2c as Java's HttpClient sends it": f"{_JAVA}Upgrade: h2c\r\n",
    "h2c before Connection": f"Upgrade: h2c\r\n{_JAVA}",
    "TLS": "Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0\r\n",
    "WebSocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "twice": "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: h3\r\n",
}


@pytest.mark.parametrize("offer", _OFFERS.values(), ids=_OFFERS.keys())
@pytest.mark.parametrize("body", [_SIZED, _CHUNKED], ids=["with a length", "chunked"])
async def test_an_offer_of_another_protocol_is_not_taken_and_nothing_is_lost(
    client: _Client, offer: str, body: str
) -> None:
    """Each request of a connection has its body, in one piece with the next request or byte by byte."""
    request = f"POST /a%20b?c HTTP/1.1\r\nHost: test\r\n{offer}{body}".encode()
    client.writer.write(request + request)
    assert [await client.answer() for _ in range(2)] == [(200, "hello")] * 2
    for byte in request:
        client.writer.write(bytes([byte]))
        await client.writer.drain()
    assert await client.answer() == (200, "hello")
    client.writer.write(_GET + b"\r\n")
    assert await client.answer() == (200, "fine")


async def test_many_offers_at_once_are_read_one_after_the_other(client: _Client) -> None:
    """There are more of them than Python's stack is deep."""
    client.writer.write(f"GET / HTTP/1.1\r\n{_OFFERS['TLS']}\r\n".encode() * 1_200)
    for _ in range(1_200):
        assert await client.answer() == (200, "fine")


@pytest.mark.parametrize(
    "coding",
    [
        *("gzip, chunked", "br, Chunked", "gzip\r\nTransfer-Encoding: chunked"),
        *("gzip", "identity", "xchunked"),
    ],
)
@pytest.mark.parametrize("offer", ["", _OFFERS["TLS"]], ids=["", "with an offer"])
async def test_a_body_in_another_coding_is_refused(client: _Client, coding: str, offer: str) -> None:
    """It can't be undone, so it isn't taken for an image."""
    coded = f"POST / HTTP/1.1\r\n{offer}Transfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    client.writer.write(coded.encode())
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (
        501,
        "no Transfer-Encoding but chunked is supported; send the body as it is",
    )
    assert await client.is_closed()


async def test_chunks_that_are_not_the_last_coding_are_no_http(client: _Client) -> None:
    """Nobody knows where such a body ends: RFC 9112 wants a 400."""
    client.writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello")
    assert (await client.answer())[0] == 400
    assert await client.is_closed()


async def test_a_tunnel_is_refused(client: _Client) -> None:
    """Its bytes aren't HTTP any more."""
    client.writer.write(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n\x16\x03\x01")
    assert (await client.answer())[0] == 501
    assert await client.is_closed()


@pytest.mark.parametrize("coding", ["chunked", "Chunked", " CHUNKED "])
async def test_chunks_are_chunks_however_they_are_spelt(client: _Client, coding: str) -> None:
    client.writer.write(f"POST / HTTP/1.1\r\nTransfer-Encoding:{coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
    assert await client.answer() == (200, "hello")


async def test_a_connection_too_many_is_told_so_and_the_others_go_on(port: int) -> None:
    """It takes no file that something else needs, and its end makes no room that isn't there."""
    clients = [_Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(_MOST_CONNECTIONS)]
    for client in clients:
        client.writer.write(_GET + b"\r\n")
        assert await client.answer() == (200, "fine")
    for _ in range(3):
        refused = _Client(*await asyncio.open_connection("127.0.0.1", port))
        status, body = await refused.answer()
        assert (status, json.loads(body)["detail"]) == (
            503,
            "4 connections are open, no more fit in; try again later",
        )
        assert await refused.is_closed()
        refused.writer.close()
    clients[0].writer.write(_GET + b"\r\n")
    assert await clients[0].answer() == (200, "fine")
    clients[0].writer.close()
    await clients[0].writer.wait_closed()
    await asyncio.sleep(0.1)
    late = _Client(*await asyncio.open_connection("127.0.0.1", port))
    late.writer.write(_GET + b"\r\n")
    assert await late.answer() == (200, "fine")
    for client in (*clients[1:], late):
        client.writer.close()
        await client.writer.wait_closed()


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [
        (1_024, 1_048_576, 65_536, 65_408),
        (1_024, 4_096, 4_096, 3_968),
        (256, 256, None, 128),
        (64, 64, None, 32),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 65_408),
        (1_024, resource.RLIM_INFINITY, 65_536, 65_408),
        (100_000, 100_000, None, 99_872),
    ],
)
def test_as_many_files_as_the_system_allows_may_be_connections(
    soft: int, hard: int, raised: int | None, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less what the process needs for itself."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    assert raise_file_limit() == connections
    assert limits == ([] if raised is None else [(raised, hard)])

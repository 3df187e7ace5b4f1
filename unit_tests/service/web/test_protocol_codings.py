"""Offers of other protocols, and codings of bodies: what the service does not speak is refused, and nothing is lost."""

import json

import pytest

from unit_tests.builders.raw_http import GET, Client

pytestmark = pytest.mark.anyio

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
    client: Client, offer: str, body: str
) -> None:
    """Each request of a connection has its body, in one piece with the next request or byte by byte."""
    request = f"POST /a%20b?c HTTP/1.1\r\nHost: test\r\n{offer}{body}".encode()
    client.writer.write(request + request)
    assert [await client.answer() for _ in range(2)] == [(200, "hello")] * 2
    for byte in request:
        client.writer.write(bytes([byte]))
        await client.writer.drain()
    assert await client.answer() == (200, "hello")
    client.writer.write(GET + b"\r\n")
    assert await client.answer() == (200, "fine")


async def test_many_offers_at_once_are_read_one_after_the_other(client: Client) -> None:
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
async def test_a_body_in_another_coding_is_refused(client: Client, coding: str, offer: str) -> None:
    """It can't be undone, so it isn't taken for an image."""
    coded = f"POST / HTTP/1.1\r\n{offer}Transfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    client.writer.write(coded.encode())
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (
        501,
        "no Transfer-Encoding but chunked is supported; send the body as it is",
    )
    assert await client.is_closed()


async def test_chunks_that_are_not_the_last_coding_are_no_http(client: Client) -> None:
    """Nobody knows where such a body ends: RFC 9112 wants a 400."""
    client.writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello")
    assert (await client.answer())[0] == 400
    assert await client.is_closed()


async def test_a_tunnel_is_refused(client: Client) -> None:
    """Its bytes aren't HTTP any more."""
    client.writer.write(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n\x16\x03\x01")
    assert (await client.answer())[0] == 501
    assert await client.is_closed()


@pytest.mark.parametrize("coding", ["chunked", "Chunked", " CHUNKED "])
async def test_chunks_are_chunks_however_they_are_spelt(client: Client, coding: str) -> None:
    client.writer.write(f"POST / HTTP/1.1\r\nTransfer-Encoding:{coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
    assert await client.answer() == (200, "hello")

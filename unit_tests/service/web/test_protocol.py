"""A request's head has its time and its size; a client that takes neither costs nothing."""

import asyncio
import json
import logging
import resource
import socket

import pytest

from service.web.protocol import MAX_HEAD_BYTES, raise_file_limit
from unit_tests.builders.raw_http import GET, MOST_CONNECTIONS, SOON_S, Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("begun", [b"", b"GET / HT", GET, b"\r\n"])
async def test_a_head_that_does_not_come_is_a_408(client: Client, begun: bytes) -> None:
    """Also when nothing comes at all."""
    client.writer.write(begun)
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (408, "the request's headers did not come within 0.3 s")
    assert await client.is_closed()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(client: Client) -> None:
    """It isn't each byte that must come in time."""
    client.writer.write(GET + b"X: ")
    answer = asyncio.create_task(client.answer())
    while not answer.done():
        client.writer.write(b"x")
        await asyncio.sleep(0.02)
    assert answer.result()[0] == 408


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(GET + b"X: " + b"x" * 8_000_000, 431, id="a head without an end"),
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
    writer.write(GET + b"X: " + b"x" * MAX_HEAD_BYTES)
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
    writer.write(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n" + GET + b"X: " + b"x" * 3 * MAX_HEAD_BYTES)
    assert await asyncio.wait_for(reader.read(), 30) == b""
    await asyncio.sleep(4 * SOON_S)
    writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_head_without_an_end_is_a_431(client: Client) -> None:
    """It isn't kept for longer than it takes to see that it's too long."""
    client.writer.write(GET + b"X: " + b"x" * MAX_HEAD_BYTES)
    status, body = await client.answer()
    assert (status, json.loads(body)["detail"]) == (431, "the request's headers are longer than 65,536 bytes")
    assert await client.is_closed()


async def test_each_request_of_a_connection_has_its_own_time_and_size(client: Client) -> None:
    """However long the last was, and however long ago."""
    for _ in range(3):
        client.writer.write(GET + b"X: " + b"x" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n")
        assert await client.answer() == (200, "fine")
        await asyncio.sleep(2 * SOON_S)
    client.writer.write(GET)
    assert (await client.answer())[0] == 408


async def test_requests_that_come_together_are_answered(client: Client) -> None:
    """The last one's head is cut off; the others have their answers before the connection ends."""
    client.writer.write((GET + b"\r\n") * 3 + b"GET")
    assert [await client.answer() for _ in range(3)] == [(200, "fine")] * 3
    assert await client.is_closed()


async def test_a_late_head_waits_for_the_answer_before_it(client: Client) -> None:
    """A request that is being answered isn't cut off."""
    client.writer.write(GET.replace(b"/", b"/slow", 1) + b"\r\n")
    await client.writer.drain()
    await asyncio.sleep(SOON_S / 3)
    client.writer.write(b"GET")
    assert await client.answer() == (200, "fine")
    assert (await client.answer())[0] == 408
    assert await client.is_closed()


async def test_a_refusal_is_never_taken_for_another_requests_answer(client: Client) -> None:
    """Who sends an endless head before the answer to his last request is there gets neither."""
    client.writer.write(GET.replace(b"/", b"/slow", 1) + b"\r\n" + GET)
    await client.writer.drain()
    await asyncio.sleep(SOON_S / 3)
    client.writer.write(b"X: " + b"x" * MAX_HEAD_BYTES)
    assert await client.is_closed()


async def test_a_connection_too_many_is_told_so_and_the_others_go_on(port: int) -> None:
    """It takes no file that something else needs, and its end makes no room that isn't there."""
    clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(MOST_CONNECTIONS)]
    for client in clients:
        client.writer.write(GET + b"\r\n")
        assert await client.answer() == (200, "fine")
    for _ in range(3):
        refused = Client(*await asyncio.open_connection("127.0.0.1", port))
        status, body = await refused.answer()
        assert (status, json.loads(body)["detail"]) == (
            503,
            "4 connections are open, no more fit in; try again later",
        )
        assert await refused.is_closed()
        refused.writer.close()
    clients[0].writer.write(GET + b"\r\n")
    assert await clients[0].answer() == (200, "fine")
    clients[0].writer.close()
    await clients[0].writer.wait_closed()
    await asyncio.sleep(0.1)
    late = Client(*await asyncio.open_connection("127.0.0.1", port))
    late.writer.write(GET + b"\r\n")
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

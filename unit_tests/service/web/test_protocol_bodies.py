"""A body may be long, its trailers may not; a request that is answered before its body has come holds nothing up."""

import asyncio

import pytest

from service.web.protocol import MAX_HEAD_BYTES
from unit_tests.builders.raw_http import GET, SOON_S, Client, served

pytestmark = pytest.mark.anyio


async def test_a_body_may_be_longer_and_take_its_time(client: Client) -> None:
    """Its limits are the application's."""
    for rest in (b"x", b"x" * 150_000):
        client.writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (150_000 + len(rest)) + b"x" * 150_000)
        await asyncio.sleep(2 * SOON_S)
        client.writer.write(rest)
        assert await client.answer() == (200, "fine")


_CHUNKED_HEAD = b"Host: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


async def test_trailers_without_an_end_close_the_connection(client: Client) -> None:
    """The application still waits for the body's end, so the client gets no answer."""
    client.writer.write(b"POST / HTTP/1.1\r\n" + _CHUNKED_HEAD + b"0\r\n" + b"X: x\r\n" * 100_000)
    assert await client.is_closed()


async def test_trailers_without_an_end_behind_an_answer_get_no_second_one(client: Client) -> None:
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


async def test_a_body_of_many_chunks_is_a_body(client: Client) -> None:
    """Its chunk sizes are longer than trailers may be, and so are the requests that come with its end."""
    client.writer.write(b"POST / HTTP/1.1\r\n" + _CHUNKED_HEAD)
    await client.writer.drain()
    client.writer.write(b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n" + (GET + b"\r\n") * 2_500)
    for _ in range(2_501):
        assert await client.answer() == (200, "fine")


async def test_a_head_and_trailers_and_the_next_head_may_each_be_as_long_as_allowed(client: Client) -> None:
    field = b"X: " + b"x" * (MAX_HEAD_BYTES - 1_000) + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n" + field
    for piece in (head, b"\r\n", b"0\r\n" + field, b"\r\n", GET + field, b"\r\n"):
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(SOON_S / 10)  # the server reads it alone
    assert [await client.answer() for _ in range(2)] == [(200, "fine")] * 2


@pytest.mark.parametrize("rest", [b" wor", b" world"], ids=["in part", "whole"])
async def test_an_idle_connection_is_closed_though_its_last_request_was_answered_before_it_had_come(
    client: Client, rest: bytes
) -> None:
    """The rest of its body does not stop the timer of idle connections."""
    client.writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello")
    assert (await client.answer())[0] == 413
    client.writer.write(rest)
    assert await client.is_closed()


async def test_the_body_of_an_answered_request_has_no_more_time_than_an_idle_connection(client: Client) -> None:
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


async def test_a_request_behind_an_answered_one_is_not_cut_off(client: Client) -> None:
    """The end of a body and the next request come in one piece, and the time of an idle connection ends meanwhile."""
    client.writer.write(b"POST /early HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello")
    assert (await client.answer())[0] == 413
    client.writer.write(b" world" + GET.replace(b"/", b"/later", 1) + b"\r\n")
    assert await client.answer() == (200, "fine")


async def test_a_request_that_is_answered_late_does_not_count_as_idle(client: Client) -> None:
    """However its body came; an idle connection would be closed before."""
    for piece in (b"POST /later HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello", b" world"):
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(SOON_S / 3)
    assert await client.answer() == (200, "hello world")


@pytest.mark.parametrize("is_answered", [True, False], ids=["behind an answer", "before it"])
async def test_a_head_that_has_begun_does_not_count_as_idle(*, is_answered: bool) -> None:
    """It has its own time, and may have more of it than idle connections."""
    may_answer = asyncio.Event()
    async with served(keep_alive_s=SOON_S / 3, may_answer=may_answer) as port:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        client.writer.write(GET + b"\r\n")
        answered = asyncio.create_task(client.answer())
        if is_answered:
            may_answer.set()
            await answered
        else:
            await asyncio.sleep(SOON_S / 10)  # the server reads the rest alone
        client.writer.write(b"GET")
        await asyncio.sleep(SOON_S / 10)
        may_answer.set()
        assert await answered == (200, "fine")
        assert (await client.answer())[0] == 408
        client.writer.close()
        await client.writer.wait_closed()

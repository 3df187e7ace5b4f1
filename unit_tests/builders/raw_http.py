"""Clients that speak HTTP byte by byte, and an application that `BoundedHttp` serves them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from starlette.types import Receive, Scope, Send

from service.web.protocol import BoundedHttp

GET = b"GET / HTTP/1.1\r\nHost: test\r\n"
SOON_S = 0.3
KEEP_ALIVE_S = 2
MOST_CONNECTIONS = 4


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
        await asyncio.sleep(3 * SOON_S)
    if scope["path"] == "/later":
        await asyncio.sleep(KEEP_ALIVE_S + SOON_S)
    answer = b"fine" if len(body) > 100 or not body else body
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def served(keep_alive_s: float = KEEP_ALIVE_S, may_answer: asyncio.Event | None = None) -> AsyncIterator[int]:
    """The port where an application is served, which answers when it may."""
    http = partial(BoundedHttp, head_timeout_s=SOON_S, max_connections=MOST_CONNECTIONS, on_closed=lambda: None)
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


class Client:
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

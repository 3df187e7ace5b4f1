"""The HTTP protocol of uvicorn with limits for all but bodies; it also handles heads that uvicorn would misread.

Plain uvicorn waits for headers without a limit and keeps any number of them, also of those that follow a chunked body.
It loses the body of a request that offers another protocol, and takes a compressed body for a plain one. It leaves a
connection open if a request was answered before its body had come. Bodies have their limits in
`service.web.body`.
"""

import asyncio
import json
import resource
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.web.lingering import LingeringTransport

MAX_HEAD_BYTES = 65_536
_MOST_FILES = 65_536
# Files that are no open connections: logs, metrics, pipes to the workers, and connections that it gets and refuses.
_RESERVED_FILES = 128


def raise_file_limit() -> int:
    """Raise the limit of open files for this process and its children; return how many of them may be connections.

    Without a free file for the next connection, asyncio spins, and uvloop drops the connection without an answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    usable = _MOST_FILES if soft == resource.RLIM_INFINITY else soft
    return max(usable - _RESERVED_FILES, usable // 2)


class _CodedBodyError(Exception):
    """The body has a Transfer-Encoding that the server can't decode."""


class BoundedHttp(HttpToolsProtocol):
    """One connection; 408 for a head that doesn't come in time, 431 for one that is too long, 501 for a coded body.

    A request with `Upgrade`, as in `Upgrade: h2c`, is read as if it had no such header, as RFC 9110 allows. A
    connection on which trailers come without an end is closed.

    Parameters
    ----------
    head_timeout_s:
        Seconds from the connection, or from the first byte after a request, to the end of the headers.
    max_connections:
        Connections that this process may have; it answers a further one with 503 and closes it.
    on_closed:
        Called when the connection has ended.
    """

    def __init__(
        self, *, head_timeout_s: float, max_connections: int, on_closed: Callable[[], None], **of_uvicorn: Any
    ) -> None:
        super().__init__(**of_uvicorn)
        self._on_closed = on_closed
        self._head_timeout_s = head_timeout_s
        self._max_connections = max_connections
        self._is_in_head = True
        # Bytes of a head, or of chunk sizes and trailers since the last piece of a body.
        self._overhead_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        lingering: Any = LingeringTransport(transport, self.loop, lambda: self._is_client_sending)
        super().connection_made(lingering)
        if len(self.connections) > self._max_connections:
            self._refuse(503, f"{self._max_connections} connections are open, no more fit in; try again later")
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a head or of a body, or parts of several."""
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._wait_for_head()
            self._unset_keepalive_if_required()
        self._overhead_bytes += len(data)
        self._feed(data)
        if self._is_answering:
            self._unset_keepalive_if_required()  # a request that came behind the rest of an answered one
        if self._overhead_bytes > MAX_HEAD_BYTES and self._is_in_head:
            self._refuse(431, f"the request's headers are longer than {MAX_HEAD_BYTES:,} bytes")
        elif self._overhead_bytes > MAX_HEAD_BYTES:
            # Trailers without an end. An answer of ours could be taken for a second one: the application may have
            # answered this request, or have begun to.
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Stop the limits of the head, since a body follows."""
        if self._offers_upgrade:
            return  # `_feed` reads this head again
        if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in self.headers):
            raise _CodedBodyError
        self._is_in_head, self._overhead_bytes = False, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count anew from here: a body may be long, and may come in many chunks."""
        self._overhead_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next request. Until it begins, uvicorn closes a connection that stays idle."""
        if self._offers_upgrade:
            return
        super().on_message_complete()
        self._is_in_head, self._overhead_bytes = True, 0

    def on_response_complete(self) -> None:
        """Count the time in which the connection is idle, unless the next head has begun: that has its own time."""
        super().on_response_complete()
        if self._timer is not None:
            self._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, since no more data will come."""
        self._stop_waiting()
        self._on_closed()
        super().connection_lost(exc)

    def _feed(self, data: bytes) -> None:
        unread = [memoryview(data)]
        while unread:
            piece = unread.pop()
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(501, "this server is no proxy: CONNECT is not supported")
                    return
                # The parser has skipped the body. A new one reads it, after the same head without the offer.
                unread += [piece[upgrade.args[0] :], memoryview(self._head_without_upgrade())]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, _CodedBodyError):
                    self._refuse(501, "no Transfer-Encoding but chunked is supported; send the body as it is")
                else:
                    self.send_400_response("Invalid HTTP request received.")
                return

    @property
    def _offers_upgrade(self) -> bool:
        offers: bool = self.parser.should_upgrade()
        return offers

    def _head_without_upgrade(self) -> bytes:
        request = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = (b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return b"".join((request, *kept, b"\r\n"))

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._head_timeout_s, self._on_late_head)

    def _on_late_head(self) -> None:
        self._timer = None
        if self._is_answering:  # a request before this one, which has a deadline of its own
            self._wait_for_head()
        else:
            self._refuse(408, f"the request's headers did not come within {self._head_timeout_s:g} s")

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _is_client_sending(self) -> bool:
        """Whether a request hasn't come to its end; before the first it may be on its way.

        The server waits only for some of the clients that it refuses at its limit of connections: each holds a file.
        """
        if len(self.connections) > self._max_connections + _RESERVED_FILES // 2:
            return False
        return self.cycle is None or self._overhead_bytes > 0 or self.cycle.more_body

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        if not self._is_answering:  # else this would be taken for the other request's answer
            body = json.dumps({"detail": detail}).encode()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            if status == 503:
                head += "retry-after: 1\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()

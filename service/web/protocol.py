"""uvicorn's HTTP with an end to waiting for a request's head, and to how long it may be.

By itself uvicorn waits for headers for ever and keeps as many as come. Bodies have their limits in
`service.web.image_request`.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536


class BoundedHttp(HttpToolsProtocol):
    """One connection; 408 for a head that doesn't come in time, 431 for one that is too long.

    Parameters
    ----------
    head_timeout_s:
        From the connection, or from the first byte after a request, to the end of the headers.
    """

    def __init__(self, *, head_timeout_s: float, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._head_timeout_s = head_timeout_s
        self._is_in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """A part of a head or of a body, or of several."""
        if self._is_in_head:
            self._wait_for_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the request's headers are longer than {MAX_HEAD_BYTES:,} bytes")

    def on_headers_complete(self) -> None:
        """What comes now is a body."""
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes now is another request. Until it begins, uvicorn closes a connection that stays idle."""
        super().on_message_complete()
        self._is_in_head, self._head_bytes = True, 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come."""
        self._stop_waiting()
        super().connection_lost(exc)

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
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        if not self._is_answering:  # else this would be taken for the other request's answer
            body = json.dumps({"detail": detail}).encode()
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()

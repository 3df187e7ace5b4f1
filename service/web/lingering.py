"""Close a connection without cutting the client off from its answer.

If the server closes a connection while the client still sends, the kernel resets it. The reset throws away the answer
that the client has received and not yet read: a client that sends too large a file would see a connection error instead
of the 413. So the server only ends its own side, and discards what still comes until the client ends, too.
"""

import asyncio
from collections.abc import Callable
from typing import Any

# A client that hasn't read its answer by then won't read it at all.
_LINGER_S = 2.0


class LingeringTransport:
    """A transport whose `close` waits for the client's end where the client may still be sending.

    Parameters
    ----------
    transport:
        The connection; this has all that it has.
    is_client_sending:
        Says when the connection is closed whether more of a request may come.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_client_sending: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_client_sending = is_client_sending
        self._is_lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be written; what comes from the client then is to be forgotten."""
        return self._is_lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close at once, or after the client's end, and in two seconds at most."""
        if self.is_closing():
            return
        if not (self._is_client_sending() and self._transport.can_write_eof()):
            self._transport.close()
            return
        self._is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(_LINGER_S, self._transport.close)

    def write(self, data: bytes) -> None:
        """Write, unless the server has said that it is done; an answer that comes then has no reader."""
        if not self._is_lingering:
            self._transport.write(data)

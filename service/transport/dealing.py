"""Distribute connections evenly over the HTTP processes.

If all HTTP processes accept from one listening socket, the first that wakes takes all that have arrived: of 128
connections over eight processes one may get ninety, and a core's worth of work with them. Here the main process accepts
alone. It passes each connection's descriptor to the HTTP process that has the fewest open.
"""

import asyncio
import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from itertools import chain
from ssl import SSLContext
from typing import Any

import numpy as np
import uvloop

from service.transport.shared_arrays import SharedArrays

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048  # as uvicorn has it
# Descriptors that an HTTP process takes in a row. Then it goes on with its requests, and closes the connections beyond
# its limit: until then they use files that it keeps for other things.
_AT_A_TIME = 8
_RETRY_S = 0.05


class ConnectionDealer(threading.Thread):
    """A thread of the main process that accepts connections, with a channel to each HTTP process.

    The channels are opened just before the HTTP processes are forked; the thread starts afterwards.

    Parameters
    ----------
    processes:
        The number of HTTP processes, which are numbered from 0.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(name="dealer", daemon=True)
        self._processes = processes
        self._channels: list[tuple[socket.socket, socket.socket]] = []
        # The main process counts the connections that it has dealt; each HTTP process counts those that it has closed.
        self._dealt = np.zeros(processes, np.int64)
        self._closed = SharedArrays({"closed": ((processes,), np.int64)})["closed"]
        self._has_stopped = threading.Event()
        self._process = 0

    def listen_on(self, listener: socket.socket) -> None:
        """Take the socket that connections will come from, and open the channels.

        Call it just before the HTTP processes are forked. A process that LitServe forks earlier would inherit the
        channels and hold them open, so connections would be dealt to an HTTP process that has ended.
        """
        self._listener = listener
        self._channels = [socket.socketpair() for _ in range(self._processes)]
        for end in chain.from_iterable(self._channels):
            weakref.finalize(self, end.close)

    # The main process calls these.

    def start(self) -> None:
        """Accept connections from now on."""
        for mine, theirs in self._channels:
            theirs.close()
            mine.setblocking(False)
        self._listener.listen(_BACKLOG)
        super().start()

    def stop(self) -> None:
        """Accept no more; clients that try are refused."""
        if not self._has_stopped.is_set() and self.is_alive():
            self._has_stopped.set()
            # To close it would not be enough, because other processes have inherited it.
            self._listener.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Deal until `stop` is called."""
        while not self._has_stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                # Too many open files, or a client that has gone already. The others are still to be served.
                if not self._has_stopped.wait(_RETRY_S):
                    _LOG.warning("a connection could not be accepted: %s", error)
                continue
            with connection:
                self._deal(connection)

    def _deal(self, connection: socket.socket) -> None:
        """Pass it to the HTTP process with the fewest; where that is behind, to the next."""
        while not self._has_stopped.is_set():
            for process in np.argsort(self._dealt - self._closed, kind="stable").tolist():
                try:
                    mine, _ = self._channels[process]
                    socket.send_fds(mine, [b"\0"], [connection.fileno()])
                except OSError:
                    continue  # its channel is full, or it has ended, which the supervisor looks after
                self._dealt[process] += 1
                return
            self._has_stopped.wait(_RETRY_S)

    # An HTTP process calls these.

    def become(self, process: int) -> None:
        """Make this process the HTTP process of that number: close the listener and all channels but its own."""
        self._process = process
        self._listener.close()
        for number, (mine, theirs) in enumerate(self._channels):
            mine.close()
            if number != process:
                theirs.close()

    def receive(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        ssl: SSLContext | None = None,
    ) -> "DealtServer":
        """Make a protocol for each connection that is dealt to this HTTP process from now on."""
        _, theirs = self._channels[self._process]
        return DealtServer(loop, make_protocol, ssl, theirs, self.count_closed)

    def count_closed(self) -> None:
        """Note that one of this HTTP process's connections has ended."""
        self._closed[self._process] += 1

    def close(self) -> None:
        """Do nothing: uvicorn closes the socket that it has got, after the server on it."""


class DealtServer:
    """Stands in for the asyncio server that uvicorn expects on its socket; the main process passes the connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        ssl: SSLContext | None,
        channel: socket.socket,
        on_failure: Callable[[], None],
    ) -> None:
        self._loop, self._make_protocol, self._ssl = loop, make_protocol, ssl
        self._channel, self._on_failure = channel, on_failure
        self._starting: set[asyncio.Task[None]] = set()
        channel.setblocking(False)
        loop.add_reader(channel, self._take)

    def _take(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                byte, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except BlockingIOError:
                return
            if not byte:  # the main process has ended, and this process will end, too
                self.close()
                return
            if not descriptors:  # there was no file for it, so the kernel has closed the connection
                self._on_failure()
            for descriptor in descriptors:
                task = self._loop.create_task(self._start(socket.socket(fileno=descriptor)))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)

    async def _start(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._ssl)
        except OSError:  # the client has gone again
            connection.close()
            self._on_failure()

    def close(self) -> None:
        """Take no more connections. Clients whose connections wait in the channel are cut off."""
        for task in self._starting:
            task.cancel()
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._channel.close()

    async def wait_closed(self) -> None:
        """Return at once: uvicorn itself waits for its connections."""


class DealtLoop(uvloop.Loop):
    """An HTTP process's event loop, whose server gets the connections that the main process deals to it.

    uvicorn makes the loop, given its name, and asks it for a server on each of the sockets that LitServe passes.
    """

    async def create_server(  # type: ignore[override]  # the one way in which uvicorn calls it
        self,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        *,
        sock: ConnectionDealer,
        ssl: SSLContext | None,
        **_: Any,
    ) -> DealtServer:
        """Receive from the dealer, which LitServe has passed in the place of a socket."""
        sock.become(int(os.environ["LITSERVE_WORKER_ID"]))
        return sock.receive(self, make_protocol, ssl)

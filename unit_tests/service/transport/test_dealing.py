"""Each HTTP process gets its share of the connections, however they come and go; none is lost on the way."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from service.transport.dealing import ConnectionDealer, DealtServer

pytestmark = pytest.mark.anyio

_PROCESSES = 4
_TIMEOUT_S = 30


class _Echo(asyncio.Protocol):
    """Answers with the number of its HTTP process."""

    def __init__(self, process: int, dealer: ConnectionDealer) -> None:
        self._process, self._dealer = process, dealer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data == b"?"
        self._transport.write(b"%d" % self._process)

    def connection_lost(self, exc: Exception | None) -> None:
        self._dealer._closed[self._process] += 1


class _Dealt:
    """A dealer, with all HTTP processes in this one."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address = self.listener.getsockname()
        self.dealer = ConnectionDealer(_PROCESSES)
        self.dealer.listen_on(self.listener)
        self.servers: list[DealtServer] = []

    def serve(self, process: int) -> None:
        """Let one HTTP process begin to take connections."""
        _, channel = self.dealer._channels[process]
        make_protocol: Callable[[], _Echo] = lambda: _Echo(process, self.dealer)  # noqa: E731
        # A copy for this HTTP process: the dealer closes the main process's end when it starts.
        own = channel.dup()
        self.servers.append(DealtServer(asyncio.get_running_loop(), make_protocol, None, own, lambda: None))

    async def ask(self) -> tuple[int, asyncio.StreamWriter]:
        """Open a connection, and ask which HTTP process has it."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(b"?")
        try:
            return int(await asyncio.wait_for(reader.readexactly(1), _TIMEOUT_S)), writer
        except BaseException:
            writer.close()
            raise


@pytest.fixture
async def dealt(anyio_backend: str) -> AsyncIterator[_Dealt]:
    dealt = _Dealt()
    for process in range(_PROCESSES):
        dealt.serve(process)
    dealt.dealer.start()
    yield dealt
    dealt.dealer.stop()
    dealt.dealer.join(_TIMEOUT_S)
    assert not dealt.dealer.is_alive()
    for server in dealt.servers:
        server.close()
    dealt.listener.close()


async def test_connections_that_come_together_are_spread_evenly(dealt: _Dealt) -> None:
    asked = await asyncio.gather(*(dealt.ask() for _ in range(40)))
    processes = [process for process, _ in asked]
    assert [processes.count(process) for process in range(_PROCESSES)] == [10] * _PROCESSES
    for _, writer in asked:
        writer.close()


async def test_a_process_whose_clients_have_left_gets_the_next_ones(dealt: _Dealt) -> None:
    """The process with the fewest connections gets the next one, whichever got the last."""
    asked = [await dealt.ask() for _ in range(12)]
    for process, writer in asked:
        if process == 2:
            writer.close()
    while dealt.dealer._closed[2] < 3:
        await asyncio.sleep(0.001)
    more = [await dealt.ask() for _ in range(3)]
    assert [process for process, _ in more] == [2, 2, 2]
    for _, writer in asked + more:
        writer.close()


async def test_a_process_that_takes_none_delays_no_connection(dealt: _Dealt) -> None:
    """Where its channel is full, the next one gets the connection."""
    mine, _ = dealt.dealer._channels[0]
    dealt.servers[0].close()
    stuck, dealt.dealer._channels[0] = mine, socket.socketpair()
    mine, unread = dealt.dealer._channels[0]
    mine.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            mine.send(b"\0")
    asked = [await dealt.ask() for _ in range(3)]
    assert [process for process, _ in asked] == [1, 2, 3]
    for _, writer in asked:
        writer.close()
    for end in (stuck, mine, unread):
        end.close()


async def test_a_connection_for_which_there_is_no_file_is_closed_and_costs_no_other(
    dealt: _Dealt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel passes the byte without the descriptor."""
    receive, calls = socket.recv_fds, 0

    def without_file_once(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int], int, object]:
        nonlocal calls
        byte, descriptors, flags, address = receive(channel, size, most)
        calls += 1
        if calls == 1:
            os.close(descriptors[0])
            return byte, [], socket.MSG_CTRUNC, address
        return byte, descriptors, flags, address

    monkeypatch.setattr(socket, "recv_fds", without_file_once)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await dealt.ask()
    asked = [await dealt.ask() for _ in range(4)]
    assert {process for process, _ in asked} == {0, 1, 2, 3}
    for _, writer in asked:
        writer.close()


async def test_after_stop_clients_are_refused_though_others_have_inherited_the_socket(dealt: _Dealt) -> None:
    _, writer = await dealt.ask()
    inherited = dealt.listener.dup()
    dealt.dealer.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*dealt.address)
    writer.write(b"?")  # the connection that there was goes on
    inherited.close()
    writer.close()


async def test_connections_are_accepted_again_when_files_are_free(
    dealt: _Dealt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file for the next connection the dealer waits; it doesn't end, and it doesn't spin."""
    calls = 0
    accept = socket.socket.accept

    def refused_twice(listener: socket.socket) -> tuple[socket.socket, object]:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", refused_twice)
    start_s = time.monotonic()
    first = await dealt.ask()  # the dealer's call of `accept` was already under way
    second = await dealt.ask()
    assert time.monotonic() - start_s >= 0.1
    for _, writer in (first, second):
        writer.close()


def test_an_http_process_keeps_no_way_but_its_own() -> None:
    """The other processes would hold open a connection that waits for a process that has ended."""
    dealer = ConnectionDealer(3)
    dealer.listen_on(socket.create_server(("127.0.0.1", 0)))
    dealer.become(1)
    still_open = [(mine.fileno() >= 0, theirs.fileno() >= 0) for mine, theirs in dealer._channels]
    assert still_open == [(False, False), (False, True), (False, False)]
    assert dealer._listener.fileno() == -1
    dealer.count_closed()
    assert dealer._closed.tolist() == [0, 1, 0]
    dealer._channels[1][1].close()

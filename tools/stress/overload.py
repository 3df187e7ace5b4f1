"""Ten times more requests than the service can answer: `make overload`.

First a closed loop finds the peak; then clients that know nothing of each other send at a multiple of it, at random
times. Prints what is answered in both, and how fast what is refused is refused. The client is as cheap as it can be,
for it takes cores of the machine that it loads.
"""

import argparse
import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perf_tests.photos import cat_jpeg
from servegate.load.loops import poisson_arrivals_s
from servegate.processes.server import ServerProcess

_ROOT = Path(__file__).parents[2]
_HEADER_END = b"\r\n\r\n"
_CLIENTS = 64
_PATIENCE_S = 60.0
# The server closes a connection that is idle for longer, maybe just when the next request is on its way.
_IDLE_S = 3.0


@dataclass(frozen=True)
class Answered:
    """The answer to a request, when it came (`time.monotonic()`), and how long after the request was due."""

    what: str
    at_s: float
    duration_s: float


class Connection(asyncio.Protocol):
    """Sends one request at a time, and waits for the whole of its answer."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[str] | None = None
        self._received = b""
        self.answered_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes) -> asyncio.Future[str]:
        """Send a request; the status of its answer, with the sentence of an error."""
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_HEADER_END)
        if not end or self._answer is None:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) >= length and not self._answer.done():
            status = head.split(b" ", 2)[1].decode()
            self._answer.set_result(status if status == "200" else f"{status} {json.loads(body)['detail']}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))


class Clients:
    """Connections that are kept, as many as are needed at a time."""

    def __init__(self, url: str, request: bytes) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)
        self._request = request
        self._idle: list[Connection] = []
        self.answered: list[Answered] = []

    async def send(self, due_s: float) -> None:
        """One request, on a connection that is idle or a new one."""
        connection = self._idle.pop() if self._idle else None
        if connection is None or time.monotonic() - connection.answered_s > _IDLE_S:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        what = await connection.send(self._request)
        now_s = time.monotonic()
        connection.answered_s = now_s
        self.answered.append(Answered(what, now_s, now_s - due_s))
        self._idle.append(connection)


async def closed_loop(clients: Clients, seconds: float) -> None:
    """Run as many clients as fill two batches; each sends its next request when the last is answered."""
    end_s = time.monotonic() + seconds

    async def one() -> None:
        while (now_s := time.monotonic()) < end_s:
            await clients.send(now_s)

    await asyncio.gather(*(one() for _ in range(_CLIENTS)))


async def open_loop(clients: Clients, rate_per_s: float, seconds: float) -> None:
    """Requests at random times, whatever becomes of those before."""
    start_s, sent = time.monotonic(), []
    arrivals_s = poisson_arrivals_s(rate_per_s, random.Random(11))
    for arrival_s in itertools.takewhile(lambda arrival_s: arrival_s < seconds, arrivals_s):
        due_s = start_s + arrival_s
        if (wait_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        sent.append(asyncio.create_task(clients.send(due_s)))
    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.gather(*sent)


def _kind(what: str) -> str:
    return re.sub(r"\d+ requests", "n requests", what)


def report(name: str, answered: Sequence[Answered], begin_s: float, end_s: float) -> float:
    """Print what was answered in a window; good answers a second."""
    window = [item for item in answered if begin_s <= item.at_s <= end_s]
    rate_per_s = sum(item.what == "200" for item in window) / (end_s - begin_s)
    print(f"{name}: {rate_per_s:.1f} good answers/s")
    for what in sorted({_kind(item.what) for item in window}):
        took_ms = 1e3 * np.array([item.duration_s for item in window if _kind(item.what) == what])
        p50, p95, p99 = np.percentile(took_ms, (50, 95, 99))
        print(f"  {len(took_ms)} x {what}: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, max {took_ms.max():.1f} ms")
    return rate_per_s


async def _run(url: str, options: argparse.Namespace) -> None:
    photo = cat_jpeg()
    head = f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
    request = head.encode() + photo
    warm_up_s, whole_s = options.seconds / 3, options.seconds * 4 / 3
    for _ in range(options.rounds):
        clients = Clients(url, request)
        start_s = time.monotonic()
        await closed_loop(clients, whole_s)
        peak = report("peak", clients.answered, start_s + warm_up_s, start_s + whole_s)
        clients = Clients(url, request)
        start_s, client_s = time.monotonic(), time.process_time()
        await open_loop(clients, options.times * peak, whole_s)
        client_cores = (time.process_time() - client_s) / (time.monotonic() - start_s)
        over = report(f"{options.times:g} times", clients.answered, start_s + warm_up_s, start_s + whole_s)
        print(f"  {over / peak:.0%} of the peak; the client took {client_cores:.2f} cores")


def main(arguments: Sequence[str]) -> int:
    """Run; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stress.overload", description=__doc__)
    parser.add_argument("--times", type=float, default=10.0, help="of the peak's rate")
    parser.add_argument("--seconds", type=float, default=9.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    command = [sys.executable, "-m", "service.server", "--log-level", "error"]
    with ServerProcess(command, cwd=_ROOT, env={}, ready_deadline_s=180) as server:
        asyncio.run(_run(server.url, options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The two ways in which a client sends requests: a closed loop and an open one.

A closed loop slows down with the server, and so hides how long its requests would have waited. In an open loop requests
come at random times that the answers don't change, as from clients of their own. A request's time counts from when it
was to be sent, also where the client or its connections were too busy to send it then (Tene, *How NOT to Measure
Latency*: no coordinated omission).
"""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Protocol

from servegate.load.requests import Requester


class Loop(Protocol):
    """Sends requests between `go` and `hold`, as often as it is told to."""

    @property
    def connections(self) -> int:
        """The connections that each want an answer before the load is warm; 0 where requests wait for no other."""

    def go(self) -> None:
        """Begin to send requests."""

    async def hold(self) -> None:
        """Stop sending them; returns when all that are in flight have been answered."""


class ClosedLoop:
    """Each connection sends its next request when the last is answered."""

    def __init__(self, requester: Requester, connections: int) -> None:
        self.connections = connections
        self._requester = requester
        self._is_sending = False
        self._sending: list[asyncio.Task[None]] = []

    def go(self) -> None:
        """See `Loop`."""
        self._is_sending = True
        self._sending = [asyncio.create_task(self._send()) for _ in range(self.connections)]

    async def hold(self) -> None:
        """See `Loop`."""
        self._is_sending = False
        await asyncio.gather(*self._sending)

    async def _send(self) -> None:
        while self._is_sending and not self._requester.gave_up.is_set():
            await self._requester.send(time.monotonic())


class OpenLoop:
    """Requests come at random times, the same ones for every server.

    Parameters
    ----------
    rate_per_s:
        Requests a second on average.
    number:
        The number of this process among those that share the load: each has times of its own.
    """

    connections = 0

    def __init__(self, requester: Requester, rate_per_s: float, number: int) -> None:
        self._requester = requester
        self._rate_per_s = rate_per_s
        self._number = number
        self._turns = 0
        self._arrivals: asyncio.Task[None] | None = None
        self._requests: list[asyncio.Task[None]] = []

    def go(self) -> None:
        """See `Loop`."""
        self._turns += 1
        self._requester.restart(self._turns)
        # By the turn's number, and not by what earlier turns have drawn: those may have ended a little apart.
        rng = random.Random(f"process {self._number}, turn {self._turns}")
        self._arrivals = asyncio.create_task(self._send_at_random(rng))

    async def hold(self) -> None:
        """See `Loop`."""
        if self._arrivals is not None:
            self._arrivals.cancel()
        await asyncio.gather(*self._requests)
        self._requests.clear()

    async def _send_at_random(self, rng: random.Random) -> None:
        start_s = time.monotonic()
        for arrival_s in poisson_arrivals_s(self._rate_per_s, rng):
            due_s = start_s + arrival_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if self._requester.gave_up.is_set():
                return
            self._requests.append(asyncio.create_task(self._requester.send(due_s)))


def poisson_arrivals_s(rate_per_s: float, rng: random.Random) -> Iterator[float]:
    """Times of a Poisson process, in seconds from its start, without an end."""
    at_s = 0.0
    while True:
        at_s += rng.expovariate(rate_per_s)
        yield at_s

"""Send one request after another, check each answer, and keep the result."""

import asyncio
import time
from itertools import pairwise
from typing import NamedTuple

import aiohttp

from servegate.load.server_timing import HEADER
from servegate.load.workload import Requests, WeightedSet, Workload

MAX_FAILURES = 5


class Completion(NamedTuple):
    """A right answer.

    Attributes
    ----------
    at_s:
        When the answer came, by the clock of the process that sent the request.
    duration_s:
        Seconds since the request was sent, or was due in an open loop.
    server_timing:
        The `Server-Timing` header of the answer; empty if it has none.
    first_piece_s:
        The part of the duration after which the first piece of a streamed answer came; None where no piece comes alone.
    piece_gap_s:
        The longest time between two of its pieces; None without two.
    """

    at_s: float
    duration_s: float
    server_timing: str
    first_piece_s: float | None = None
    piece_gap_s: float | None = None


class Requester:
    """Sends a workload's requests to a server in their order, and keeps the completions and failures.

    Parameters
    ----------
    number:
        The number of this process among those that share the load; it decides the order of the requests.

    Attributes
    ----------
    completions:
        One for each right answer, by the clock `time.monotonic()`.
    failures:
        Descriptions of the other answers.
    gave_up:
        Set after a few failures, since more of them would give no further information.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, requests: Requests, number: int) -> None:
        self._session = session
        self._url = url
        self._requests = WeightedSet(requests.parts)
        self._number = number
        self._order = self._requests.order(f"{number}")
        # Bodies that were found right, by the request's id: most answers are equal to an earlier one.
        self._right_bodies: dict[int, set[bytes]] = {}
        self.completions: list[Completion] = []
        self.failures: list[str] = []
        self.gave_up = asyncio.Event()

    def restart(self, turn: int) -> None:
        """Begin the order of this turn, which doesn't depend on how many requests were sent before."""
        self._order = self._requests.order(f"{self._number}, turn {turn}")

    async def send(self, since_s: float) -> None:
        """Send the next request; its duration counts from `since_s`, the time at which it is sent or was due."""
        workload = next(self._order)
        url = self._url + workload.path
        first_piece_s = piece_gap_s = None
        try:
            async with self._session.request(
                workload.method, url, data=workload.body, headers=workload.headers
            ) as response:
                if workload.is_streamed:
                    body, came_s = await _read_pieces(response.content)
                    first_piece_s = came_s[0] - since_s if came_s else None
                    piece_gap_s = max((after - before for before, after in pairwise(came_s)), default=None)
                else:
                    body = await response.read()
                server_timing = response.headers.get(HEADER, "")
        except (aiohttp.ClientError, TimeoutError) as error:
            wrong: str | None = f"no answer: {error!r}"
        else:
            end_s = time.monotonic()
            wrong = self._check(workload, response.status, body)
        if wrong is None:
            self.completions.append(Completion(end_s, end_s - since_s, server_timing, first_piece_s, piece_gap_s))
        else:
            self.failures.append(wrong)
            if len(self.failures) >= MAX_FAILURES:
                self.gave_up.set()

    def _check(self, workload: Workload, status: int, body: bytes) -> str | None:
        right_bodies = self._right_bodies.setdefault(id(workload), set())
        if status == 200 and body in right_bodies:
            return None
        wrong = wrong_answer(workload, status, body)
        if wrong is None:
            right_bodies.add(body)
        return wrong


async def _read_pieces(content: aiohttp.StreamReader) -> tuple[bytes, list[float]]:
    """Read an answer to its end; returns its body, and when each piece came by `time.monotonic()`."""
    pieces, came_s = [], []
    while piece := await content.readany():
        pieces.append(piece)
        came_s.append(time.monotonic())
    return b"".join(pieces), came_s


def wrong_answer(workload: Workload, status: int, body: bytes) -> str | None:
    """Describe what is wrong with an answer; None if it is the expected one."""
    if status != 200:
        return f"status {status}: {body[:200].decode(errors='replace')}"
    return workload.right_answer.find_wrong(body)

"""One request after another: sends it, checks the answer, and keeps what came of it."""

import asyncio
import json
import time
from typing import NamedTuple

import aiohttp

from servegate.load.server_timing import HEADER
from servegate.load.workload import Workload, difference

MAX_FAILURES = 5


class Completion(NamedTuple):
    """A right answer.

    Attributes
    ----------
    at_s:
        When it came, by the clock of whoever sent the request.
    duration_s:
        Since the request was, or was to be, sent.
    server_timing:
        The answer's header of that name; empty without one.
    """

    at_s: float
    duration_s: float
    server_timing: str


class Requester:
    """Sends a workload's request to a server; what came of it is kept for whoever makes the load.

    Attributes
    ----------
    completions:
        Of each right answer, by `time.monotonic()`.
    failures:
        What was wrong with each other one.
    gave_up:
        Set after a few failures: more of them would say nothing new.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, workload: Workload) -> None:
        self._session = session
        self._url = url + workload.path
        self._workload = workload
        self._right_bodies: set[bytes] = set()
        self.completions: list[Completion] = []
        self.failures: list[str] = []
        self.gave_up = asyncio.Event()

    async def send(self, since_s: float) -> None:
        """Send one request; what it takes counts from `since_s`, when it is or was to be sent."""
        workload = self._workload
        try:
            async with self._session.post(self._url, data=workload.body, headers=workload.headers) as response:
                body = await response.read()
                server_timing = response.headers.get(HEADER, "")
        except (aiohttp.ClientError, TimeoutError) as error:
            wrong: str | None = f"no answer: {error!r}"
        else:
            end_s = time.monotonic()
            wrong = self._check(response.status, body)
        if wrong is None:
            self.completions.append(Completion(end_s, end_s - since_s, server_timing))
        else:
            self.failures.append(wrong)
            if len(self.failures) >= MAX_FAILURES:
                self.gave_up.set()

    def _check(self, status: int, body: bytes) -> str | None:
        if status == 200 and body in self._right_bodies:
            return None
        wrong = wrong_answer(self._workload, status, body)
        if wrong is None:
            self._right_bodies.add(body)
        return wrong


def wrong_answer(workload: Workload, status: int, body: bytes) -> str | None:
    """What is wrong with an answer; None if it is the expected one."""
    if status != 200:
        return f"status {status}: {body[:200].decode(errors='replace')}"
    try:
        answer = json.loads(body)
    except ValueError:
        return f"not JSON: {body[:200]!r}"
    return difference(workload.expected, answer, workload.tolerance)

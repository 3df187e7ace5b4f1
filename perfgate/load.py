"""Closed-loop load from a process of its own: `python -m perfgate.load`, jobs on stdin, results on stdout.

Threads in pytest's process would measure its interpreter lock. The connections stay open, the warm-up is discarded, and
a round is a window of the running load: the time in which a fixed number of requests completed, at least one for each
connection. Or the load goes on until it is told to stop, and whoever told it cuts it up.
"""

import asyncio
import base64
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import numpy as np

from perfgate.workload import Workload, difference

_WINDOW_S = 0.5
_REQUEST_TIMEOUT_S = 60.0
# A slow server gets this many times the asked time to complete two requests a connection.
_PATIENCE = 8.0
_MAX_FAILURES = 5


@dataclass(frozen=True)
class LoadJob:
    """What the client process does.

    Attributes
    ----------
    url:
        Of the server, without a path.
    concurrency:
        Connections, each with one request at a time.
    warmup_s, measure_s:
        Seconds of load before measuring, and while measuring; None: until a further line comes.
    """

    url: str
    workload: Workload
    concurrency: int
    warmup_s: float
    measure_s: float | None

    @property
    def longest_s(self) -> float:
        """Seconds until the client is done, however slow the server is; until it is warm if it waits to be told."""
        return _PATIENCE * (self.warmup_s + (self.measure_s or 0.0)) + _REQUEST_TIMEOUT_S

    def to_json(self) -> str:
        """One line."""
        fields = {"url": self.url, "concurrency": self.concurrency, "warmup_s": self.warmup_s}
        return json.dumps({**fields, "measure_s": self.measure_s, "workload": self.workload.to_json()})

    @classmethod
    def from_json(cls, line: str) -> "LoadJob":
        """The inverse of `to_json`."""
        document = json.loads(line)
        workload = document.pop("workload")
        workload["body"] = base64.b64decode(workload["body"])
        return cls(**document, workload=Workload(**workload))


@dataclass(frozen=True)
class LoadResult:
    """What the client saw.

    Attributes
    ----------
    rounds_s:
        Seconds of each window; empty when the load broke off.
    requests_per_round:
        Requests that complete in a window.
    latencies_ms:
        Of each request that completed while measuring.
    failures:
        What was wrong with each failed request; the load stops after a few.
    client_cpu_cores:
        CPU-seconds a second of the client.
    """

    rounds_s: list[float]
    requests_per_round: int
    latencies_ms: list[float]
    failures: list[str]
    client_cpu_cores: float


@dataclass(frozen=True)
class SteadyResult:
    """What the client saw of a load that went on until it was told to stop.

    Attributes
    ----------
    completions:
        (completed at, took) of each request since the warm-up, in seconds; the first on the system's monotonic clock.
    failures:
        What was wrong with each failed request; the load stops after a few.
    client_cpu_s:
        CPU-seconds of the client since the warm-up.
    """

    completions: list[tuple[float, float]]
    failures: list[str]
    client_cpu_s: float


class _ClosedLoop:
    """Connections that send the next request when the last is answered."""

    def __init__(self, job: LoadJob, session: aiohttp.ClientSession) -> None:
        self._job = job
        self._session = session
        self._right_bodies: set[bytes] = set()
        self._stopping = asyncio.Event()
        self.completions: list[tuple[float, float]] = []  # (completed at, took), seconds
        self.failures: list[str] = []

    async def measure(self, seconds: float) -> LoadResult:
        """Load for this long, cut into windows."""
        async with self._connections():
            start_s, start_cpu_s = time.monotonic(), time.process_time()
            await self._wait(seconds, completions=2 * self._job.concurrency + 1)
            end_s = time.monotonic()
            cpu_cores = (time.process_time() - start_cpu_s) / (end_s - start_s)
        completions = sorted(completion for completion in self.completions if completion[0] <= end_s)
        rounds_s, requests_per_round = cut_windows([at_s for at_s, _ in completions], self._job.concurrency)
        return LoadResult(
            rounds_s=[] if self.failures else rounds_s,
            requests_per_round=requests_per_round,
            latencies_ms=[took_s * 1e3 for _, took_s in completions],
            failures=self.failures,
            client_cpu_cores=cpu_cores,
        )

    async def run_until_told(self) -> SteadyResult:
        """Load until a line comes."""
        async with self._connections():
            start_cpu_s = time.process_time()
            await asyncio.to_thread(sys.stdin.readline)
        return SteadyResult(sorted(self.completions), self.failures, time.process_time() - start_cpu_s)

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[None]:
        """Warm connections at the start; at the end the requests in flight have been answered."""
        connections = [asyncio.create_task(self._connection()) for _ in range(self._job.concurrency)]
        try:
            await self._wait(self._job.warmup_s, completions=self._job.concurrency)
            self.completions.clear()
            print(json.dumps({"measuring": True}), flush=True)
            yield
        finally:
            # The next measurement must not find their work in the server's queue.
            self._stopping.set()
            await asyncio.gather(*connections)

    async def _wait(self, seconds: float, completions: int) -> None:
        """Until the time is over and enough requests have completed, or the load failed, or patience ends."""
        start_s = time.monotonic()
        while not self._stopping.is_set():
            elapsed_s = time.monotonic() - start_s
            if elapsed_s >= seconds and (len(self.completions) >= completions or elapsed_s >= seconds * _PATIENCE):
                return
            await asyncio.sleep(0.02)

    async def _connection(self) -> None:
        workload = self._job.workload
        url = self._job.url + workload.path
        while not self._stopping.is_set():
            start_s = time.monotonic()
            try:
                async with self._session.post(url, data=workload.body, headers=workload.headers) as response:
                    body = await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong: str | None = f"no answer: {error!r}"
            else:
                end_s = time.monotonic()
                wrong = self._check(response.status, body)
            if wrong is None:
                self.completions.append((end_s, end_s - start_s))
            else:
                self.failures.append(wrong)
                if len(self.failures) >= _MAX_FAILURES:
                    self._stopping.set()

    def _check(self, status: int, body: bytes) -> str | None:
        if status == 200 and body in self._right_bodies:
            return None
        if status != 200:
            return f"status {status}: {body[:200].decode(errors='replace')}"
        try:
            answer = json.loads(body)
        except ValueError:
            return f"not JSON: {body[:200]!r}"
        wrong = difference(self._job.workload.expected, answer, self._job.workload.tolerance)
        if wrong is None:
            self._right_bodies.add(body)
        return wrong


def cut_windows(completed_at_s: list[float], concurrency: int) -> tuple[list[float], int]:
    """Cut a running load into windows of equally many completions.

    A batching server completes requests in bursts of up to `concurrency`, so a window holds at least that many, and
    more where they complete so fast that it would be shorter than half a second.

    Parameters
    ----------
    completed_at_s:
        Sorted times of completion.
    concurrency:
        Connections.

    Returns
    -------
    (seconds of each window, completions in a window)
        No window when there are too few completions for one.
    """
    if len(completed_at_s) <= concurrency:
        return [], concurrency
    rate_per_s = (len(completed_at_s) - 1) / (completed_at_s[-1] - completed_at_s[0])
    generations = max(1, math.ceil(rate_per_s * _WINDOW_S / concurrency))
    size = min(generations, (len(completed_at_s) - 1) // concurrency) * concurrency
    boundaries = np.asarray(completed_at_s[::size])
    return np.diff(boundaries).tolist(), size


async def _run(job: LoadJob) -> LoadResult | SteadyResult:
    connector = aiohttp.TCPConnector(limit=job.concurrency)
    timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        loop = _ClosedLoop(job, session)
        return await (loop.run_until_told() if job.measure_s is None else loop.measure(job.measure_s))


def parse_result(line: str) -> LoadResult:
    """The result line of the client process."""
    document: Mapping[str, Any] = json.loads(line)
    return LoadResult(**document["result"])


def parse_steady_result(line: str) -> SteadyResult:
    """The result line of a client that was told to stop."""
    document: Mapping[str, Any] = json.loads(line)
    return SteadyResult(**document["result"])


def main() -> int:
    """Run the jobs on stdin, one a line. Prints a line when measuring begins, and one with the result."""
    while line := sys.stdin.readline():
        print(json.dumps({"result": asdict(asyncio.run(_run(LoadJob.from_json(line))))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

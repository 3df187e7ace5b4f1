"""Load from a process of its own: `python -m servegate.load.client`, jobs on stdin, results on stdout.

Threads in pytest's process would measure its interpreter lock. The connections stay open, the warm-up is discarded, and
a round is a window of the running load: the time in which a fixed number of requests completed, in a closed loop at
least one for each connection. Or the load goes on until a line tells it to stop, and the caller divides it into bursts
and turns. Meanwhile the line `hold` makes the client stop sending, and it replies when the last request is answered;
`go` makes it send again.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import aiohttp

from servegate.load.deployed import tls_context
from servegate.load.open_loop import send_at_random
from servegate.load.requests import Requester
from servegate.load.results import LoadResult, SteadyResult
from servegate.load.workload import Requests, parse_requests

_REQUEST_TIMEOUT_S = 60.0
# A slow server gets this many times the asked time to complete two requests a connection.
_PATIENCE = 8.0
# Shorter than servers keep an idle connection, so that none is used at the moment in which the server closes it.
_KEEP_ALIVE_S = 2.0
_POLL_S = 0.005
# Lines that pause and resume a load without a fixed end; any other line ends it.
HOLD, GO = "hold", "go"


@dataclass(frozen=True)
class LoadJob:
    """What the client process does.

    Attributes
    ----------
    url:
        The server's URL, without a path.
    concurrency:
        Connections, each with one request at a time.
    warmup_s, measure_s:
        Seconds of load before measuring, and while measuring; None: until a further line comes.
    rate_per_s:
        Requests a second on average, sent at random times over the connections; None: a closed loop, in which each
        connection sends its next request when the last is answered.
    ca_file:
        Certificates of the authorities that are trusted; None for the system's.
    """

    url: str
    workload: Requests
    concurrency: int
    warmup_s: float
    measure_s: float | None
    rate_per_s: float | None = None
    ca_file: str | None = None

    @property
    def longest_s(self) -> float:
        """Seconds until the client is done, however slow the server is; until it is warm if it waits to be told."""
        return _PATIENCE * (self.warmup_s + (self.measure_s or 0.0)) + _REQUEST_TIMEOUT_S

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**vars(self), "workload": self.workload.to_json()})

    @classmethod
    def from_json(cls, line: str) -> "LoadJob":
        """The inverse of `to_json`."""
        document = json.loads(line)
        return cls(**{**document, "workload": parse_requests(document["workload"])})


class _Load:
    """One job."""

    def __init__(self, job: LoadJob, session: aiohttp.ClientSession) -> None:
        self._job = job
        self._requester = Requester(session, job.url, job.workload)
        self._stopping = self._requester.gave_up
        self._sending = asyncio.Event()
        self._sending.set()
        self._in_flight = 0

    async def run_closed(self, seconds: float) -> LoadResult:
        """Connections that send the next request when the last is answered."""
        async with self._connections() as cpu:
            await self._wait(seconds, completions=2 * self._job.concurrency + 1)
            end_s, cpu_cores = time.monotonic(), cpu.cores
        completions = [item for item in self._requester.completions if item.at_s <= end_s]
        return LoadResult.from_completions(completions, self._job.concurrency, self._requester.failures, cpu_cores)

    async def run_until_told(self) -> SteadyResult:
        """Connections as above, until a line ends the load; see `HOLD` and `GO`."""
        async with self._connections() as cpu:
            while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) in (HOLD, GO):
                if line == HOLD:
                    self._sending.clear()
                    await self._drained()
                else:
                    self._sending.set()
                print(json.dumps({"told": line}), flush=True)
            cpu_s = cpu.seconds
        return SteadyResult(sorted(self._requester.completions), self._requester.failures, cpu_s)

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator["_Cpu"]:
        """Loaded and warm at the start; at the end the requests in flight have been answered."""
        connections = [asyncio.create_task(self._connection()) for _ in range(self._job.concurrency)]
        try:
            await self._wait(self._job.warmup_s, completions=self._job.concurrency)
            self._requester.completions.clear()
            yield _Cpu()
        finally:
            # The next measurement must not find their work in the server's queue.
            self._stopping.set()
            self._sending.set()
            await asyncio.gather(*connections)

    async def run_open(self, rate_per_s: float, seconds: float) -> LoadResult:
        """Requests at random times, however long the answers take."""
        job, rng = self._job, random.Random()
        requests = await send_at_random(self._requester, rate_per_s, job.warmup_s, rng)
        cpu = _Cpu()
        requests += await send_at_random(self._requester, rate_per_s, seconds, rng)
        await asyncio.gather(*requests)
        measured = [item for item in self._requester.completions if item.at_s - item.duration_s >= cpu.start_s]
        return LoadResult.from_completions(measured, 1, self._requester.failures, cpu.cores)

    async def _wait(self, seconds: float, completions: int) -> None:
        """Until the time is over and enough requests have completed, or the load failed, or patience ends."""
        start_s = time.monotonic()
        while not self._stopping.is_set():
            elapsed_s = time.monotonic() - start_s
            enough = len(self._requester.completions) >= completions
            if elapsed_s >= seconds and (enough or elapsed_s >= seconds * _PATIENCE):
                return
            await asyncio.sleep(0.02)

    async def _drained(self) -> None:
        while self._in_flight:
            await asyncio.sleep(_POLL_S)

    async def _connection(self) -> None:
        while True:
            await self._sending.wait()
            if self._stopping.is_set():
                return
            self._in_flight += 1
            try:
                await self._requester.send(time.monotonic())
            finally:
                self._in_flight -= 1


class _Cpu:
    """Says on stdout that measuring begins, and measures this process's CPU from then on."""

    def __init__(self) -> None:
        print(json.dumps({"measuring": True}), flush=True)
        self.start_s, self._start_cpu_s = time.monotonic(), time.process_time()

    @property
    def seconds(self) -> float:
        """CPU-seconds since the start."""
        return time.process_time() - self._start_cpu_s

    @property
    def cores(self) -> float:
        """CPU-seconds a second since the start."""
        return self.seconds / (time.monotonic() - self.start_s)


async def _run(job: LoadJob) -> LoadResult | SteadyResult:
    ssl = tls_context(job.ca_file) if job.url.startswith("https:") else False
    connector = aiohttp.TCPConnector(limit=job.concurrency, keepalive_timeout=_KEEP_ALIVE_S, ssl=ssl)
    timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = _Load(job, session)
        if job.measure_s is None:
            return await load.run_until_told()
        if job.rate_per_s is None:
            return await load.run_closed(job.measure_s)
        return await load.run_open(job.rate_per_s, job.measure_s)


def main() -> int:
    """Run the jobs on stdin, one a line. Prints a line when measuring begins, and one with the result."""
    while line := sys.stdin.readline():
        print(json.dumps({"result": asdict(asyncio.run(_run(LoadJob.from_json(line))))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

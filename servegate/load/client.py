"""Load from a process of its own: `python -m servegate.load.client`, jobs on stdin, results on stdout.

Threads in pytest's process would measure its interpreter lock. The client replies to a job when its connections are
warm, and loads the server further; the line `measure` makes it measure from then on, so that several clients begin
together. The connections stay open for the job's time, or until a line tells it to stop, and the caller divides the
load into bursts and turns. Meanwhile the line `hold` makes the client stop sending, and it replies when the last
request is answered; `go` makes it send again.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp

from servegate.load.deployed import tls_context
from servegate.load.loops import ClosedLoop, Loop, OpenLoop
from servegate.load.requests import Requester
from servegate.load.results import ClientRecord, MeasuredClient
from servegate.load.workload import Requests, parse_requests

_REQUEST_TIMEOUT_S = 60.0
# By the clock, a server that is paused in between for the other one needs this many times as long.
_PAUSES = 2
# A slow server gets this many times the planned time to complete two requests per connection.
_PATIENCE = 8.0
# Shorter than servers keep an idle connection, so that none is used at the moment in which the server closes it.
_KEEP_ALIVE_S = 2.0
# The line after which a warm load is measured.
MEASURE = "measure"
# Lines that pause and resume a load without a fixed end; any other line ends it.
HOLD, GO, STOP = "hold", "go", "stop"


@dataclass(frozen=True)
class LoadJob:
    """The job of a client process.

    Attributes
    ----------
    url:
        The server's URL, without a path.
    concurrency:
        Number of connections, each with one request at a time.
    warmup_s, measure_s:
        Seconds of load before measuring, and while measuring; None to measure until a further line comes.
    rate_per_s:
        Requests a second on average, sent at random times over the connections in an open loop; None for a closed loop.
    ca_file:
        A file with the certificates of trusted authorities; None for those of the system.
    number:
        The number, from 0 on, of the client process that gets this job; it decides the order of the requests.
    """

    url: str
    workload: Requests
    concurrency: int
    warmup_s: float
    measure_s: float | None
    rate_per_s: float | None = None
    ca_file: str | None = None
    number: int = 0

    def split(self, processes: int) -> list["LoadJob"]:
        """Split the job among so many client processes, or among fewer if there are fewer connections.

        The connections and rates of the parts add up to those of the job; their connections differ by at most one.
        """
        processes = min(processes, self.concurrency)
        rest = self.concurrency % processes
        return [self._share(number, self.concurrency // processes + (number < rest)) for number in range(processes)]

    def _share(self, number: int, concurrency: int) -> "LoadJob":
        rate_per_s = None if self.rate_per_s is None else self.rate_per_s * concurrency / self.concurrency
        return replace(self, concurrency=concurrency, rate_per_s=rate_per_s, number=number)

    @property
    def request_timeout_s(self) -> float:
        """The longest time that a request may take by the clock; a load without a fixed end may be paused meanwhile."""
        return _REQUEST_TIMEOUT_S * (_PAUSES if self.measure_s is None else 1)

    @property
    def longest_s(self) -> float:
        """Upper limit of the seconds until the client is done, or until it is warm if it then waits for a line."""
        return _PATIENCE * (self.warmup_s + (self.measure_s or 0.0)) + self.request_timeout_s

    def to_json(self) -> str:
        """Write it as one line."""
        return json.dumps({**vars(self), "workload": self.workload.to_json()})

    @classmethod
    def from_json(cls, line: str) -> "LoadJob":
        """Read a line that `to_json` has written."""
        document = json.loads(line)
        return cls(**{**document, "workload": parse_requests(document["workload"])})


class _Load:
    """The load of one job."""

    def __init__(self, job: LoadJob, session: aiohttp.ClientSession) -> None:
        self._job = job
        self._requester = Requester(session, job.url, job.workload, job.number)
        self._loop: Loop = (
            ClosedLoop(self._requester, job.concurrency)
            if job.rate_per_s is None
            else OpenLoop(self._requester, job.rate_per_s, job.number)
        )

    async def run(self, seconds: float) -> ClientRecord:
        """Measure for this long, or longer until a closed loop has had enough answers."""
        async with self._warm_loop() as clock:
            connections = self._loop.connections
            await self._wait(seconds, completions=2 * connections + 1 if connections else 0)
            measured = clock.read()
        return self._record(measured)

    async def run_until_told(self) -> ClientRecord:
        """Measure until a line ends the load; see `HOLD` and `GO`."""
        async with self._warm_loop() as clock:
            while (line := await _read_line()) in (HOLD, GO):
                if line == HOLD:
                    await self._loop.hold()
                else:
                    self._loop.go()
                _say(told=line)
            measured = clock.read()
        return self._record(measured)

    @asynccontextmanager
    async def _warm_loop(self) -> AsyncIterator["_Clock"]:
        """Send requests until the load is warm; at the end, wait until the requests in flight are answered."""
        self._loop.go()
        try:
            await self._wait(self._job.warmup_s, completions=self._loop.connections)
            yield await self._begin_to_measure()
        finally:
            # Wait for them, so that their work doesn't delay the next measurement.
            await self._loop.hold()

    async def _begin_to_measure(self) -> "_Clock":
        """Say that the load is warm, and wait until all clients are."""
        _say(warm=True)
        await _read_line()
        self._requester.completions.clear()
        clock = _Clock()
        _say(told=MEASURE)
        return clock

    def _record(self, measured: MeasuredClient) -> ClientRecord:
        return ClientRecord(self._requester.completions, self._requester.failures, [measured])

    async def _wait(self, seconds: float, completions: int) -> None:
        """Wait until time is over and enough requests have completed, or the load fails, or the time limit passes."""
        start_s = time.monotonic()
        while not self._requester.gave_up.is_set():
            elapsed_s = time.monotonic() - start_s
            enough = len(self._requester.completions) >= completions
            if elapsed_s >= seconds and (enough or elapsed_s >= seconds * _PATIENCE):
                return
            await asyncio.sleep(0.02)


class _Clock:
    """Measures this process's time and CPU time from now on."""

    def __init__(self) -> None:
        self._began_s, self._began_cpu_s = time.monotonic(), time.process_time()

    def read(self) -> MeasuredClient:
        """Return the record from the beginning until now."""
        return MeasuredClient(self._began_s, time.monotonic(), time.process_time() - self._began_cpu_s)


async def _read_line() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def open_session(job: LoadJob) -> aiohttp.ClientSession:
    """The connections of a job, which open when they are used; a request is sent once, whatever becomes of it."""
    ssl = tls_context(job.ca_file) if job.url.startswith("https:") else False
    connector = aiohttp.TCPConnector(limit=job.concurrency, keepalive_timeout=_KEEP_ALIVE_S, ssl=ssl)
    timeout = aiohttp.ClientTimeout(total=job.request_timeout_s)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout)
    # aiohttp would send a GET, PUT or DELETE again whose connection was lost, and so hide that its answer was. It has
    # no public switch for that.
    session._retry_connection = False
    return session


async def _run(job: LoadJob) -> ClientRecord:
    async with open_session(job) as session:
        load = _Load(job, session)
        return await (load.run_until_told() if job.measure_s is None else load.run(job.measure_s))


def main() -> int:
    """Run the jobs on stdin, one a line; prints a reply to every line, and each load's record at its end."""
    while line := sys.stdin.readline():
        print(asyncio.run(_run(LoadJob.from_json(line))).to_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Several client processes that load one server together, each with a share of the connections."""

from collections.abc import Callable, Sequence

from servegate.load.client import GO, HOLD, MEASURE, STOP, LoadJob
from servegate.load.results import ClientRecord, LoadResult
from servegate.processes.managed import ManagedProcess

# For the clients to start, to hand over their figures and to end, on top of their load.
_DEADLINE_S = 120.0


class ClientProcesses:
    """Client processes that wait for a job; see `servegate.load.client` for the lines that they are told.

    Every method raises a ProcessError when one of the processes ends or doesn't answer in time.

    Parameters
    ----------
    processes:
        All that were started; the first ones take the jobs that need fewer.
    choose:
        Says how many of them share a number of connections.
    """

    def __init__(self, processes: Sequence[ManagedProcess], choose: Callable[[int], int]) -> None:
        self._processes = processes
        self._choose = choose
        self._loading: Sequence[ManagedProcess] = ()
        self._reply_deadline_s = _DEADLINE_S

    def measure(self, job: LoadJob) -> None:
        """Load a server, and measure as soon as all processes have warmed up."""
        shares = job.split(self._choose(job.concurrency))
        self._loading = self._processes[: len(shares)]
        # The client says that it holds when the last request in flight is answered, or its time is over.
        self._reply_deadline_s = _DEADLINE_S + job.request_timeout_s
        self._exchange([share.to_json() for share in shares], job.longest_s + _DEADLINE_S)
        self._tell(MEASURE)

    def read_result(self, job: LoadJob) -> LoadResult:
        """The result of the job that is measured, when its time is over.

        A process that has seen too many failures stops its load at once, and the others theirs when the time is over.
        """
        record = _merge([process.read_line(job.longest_s + _DEADLINE_S) for process in self._loading])
        if job.rate_per_s is None:
            return LoadResult.of_closed_loop(record, job.concurrency)
        return LoadResult.of_open_loop(record)

    def hold(self) -> None:
        """Send no more requests; returns when all that are in flight have been answered."""
        self._tell(HOLD)

    def go(self) -> None:
        """Send requests again."""
        self._tell(GO)

    def stop(self) -> ClientRecord:
        """End a job without a time of its own; what is in flight is answered first."""
        return _merge(self._tell(STOP))

    def _tell(self, line: str) -> list[str]:
        return self._exchange([line] * len(self._loading), self._reply_deadline_s)

    def _exchange(self, lines: Sequence[str], deadline_s: float) -> list[str]:
        """Write each process its line before the first reply is waited for, so that they act together."""
        for process, line in zip(self._loading, lines, strict=True):
            process.write_line(line)
        return [process.read_line(deadline_s) for process in self._loading]


def _merge(lines: Sequence[str]) -> ClientRecord:
    return ClientRecord.merge([ClientRecord.from_json(line) for line in lines])

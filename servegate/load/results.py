"""The record of client processes that shared a load, and how its completions are cut into rounds."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from servegate.load.requests import Completion
from servegate.load.server_timing import mean_stages, parse_server_timing
from servegate.records import StageTime

_WINDOW_S = 0.5


class MeasuredClient(NamedTuple):
    """One process that made load.

    Attributes
    ----------
    began_s, ended_s:
        When it began and ended to measure, by the clock that its completions have.
    cpu_s:
        CPU-seconds that it used between the two.
    """

    began_s: float
    ended_s: float
    cpu_s: float


@dataclass(frozen=True)
class ClientRecord:
    """The record of the client processes that shared a load.

    Attributes
    ----------
    completions:
        One for each right answer since the process began to measure, also to requests in flight at the end.
    failures:
        Descriptions of the failed requests; a process stops its load after a few of them.
    clients:
        One entry for each process.
    """

    completions: list[Completion]
    failures: list[str]
    clients: list[MeasuredClient]

    @classmethod
    def merge(cls, records: "Sequence[ClientRecord]") -> "ClientRecord":
        """Join the records of all processes; the completions are in order of time."""
        return cls(
            sorted(item for record in records for item in record.completions),
            [failure for record in records for failure in record.failures],
            [client for record in records for client in record.clients],
        )

    @property
    def measured_s(self) -> tuple[float, float]:
        """The time in which all processes measured: from the last beginning to the first end."""
        return max(client.began_s for client in self.clients), min(client.ended_s for client in self.clients)

    def to_json(self) -> str:
        """Write it as one line."""
        return json.dumps({"result": vars(self)})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line that `to_json` has written."""
        result: dict[str, Any] = json.loads(line)["result"]
        return cls(
            [Completion(*item) for item in result["completions"]],
            result["failures"],
            [MeasuredClient(*client) for client in result["clients"]],
        )


@dataclass(frozen=True)
class LoadResult:
    """The result of a load that lasted for a given time.

    Attributes
    ----------
    rounds_s:
        Seconds of each window; empty if a request failed.
    requests_per_round:
        Requests that complete in a window.
    latencies_ms:
        Latency of each request that completed while measuring.
    failures:
        Descriptions of the failed requests; the load stops after a few of them.
    client_cores:
        CPU-seconds per second of each client process.
    stages:
        Mean time of each stage of these requests; empty if the service doesn't report any.
    measured_s:
        Seconds in which all client processes measured.
    """

    rounds_s: list[float]
    requests_per_round: int
    latencies_ms: list[float]
    failures: list[str]
    client_cores: list[float]
    stages: Mapping[str, StageTime]
    measured_s: float

    @classmethod
    def of_closed_loop(cls, record: ClientRecord, concurrency: int) -> Self:
        """Cut the answers that came while all processes measured into windows, see `cut_windows`."""
        began_s, ended_s = record.measured_s
        return cls._of(record, [item for item in record.completions if began_s <= item.at_s <= ended_s], concurrency)

    @classmethod
    def of_open_loop(cls, record: ClientRecord) -> Self:
        """Take the requests that were due while all processes measured, however long their answers took."""
        began_s, ended_s = record.measured_s
        sent = [item for item in record.completions if began_s <= item.at_s - item.duration_s <= ended_s]
        return cls._of(record, sent, 1)

    @classmethod
    def _of(cls, record: ClientRecord, completions: Sequence[Completion], concurrency: int) -> Self:
        rounds_s, requests_per_round = cut_windows([item.at_s for item in completions], concurrency)
        return cls(
            rounds_s=[] if record.failures else rounds_s,
            requests_per_round=requests_per_round,
            latencies_ms=[item.duration_s * 1e3 for item in completions],
            failures=record.failures,
            client_cores=[client.cpu_s / (client.ended_s - client.began_s) for client in record.clients],
            stages=mean_stages([parse_server_timing(item.server_timing) for item in completions]),
            measured_s=record.measured_s[1] - record.measured_s[0],
        )


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

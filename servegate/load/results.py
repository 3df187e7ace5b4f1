"""What a client's load came to, and how its completions are cut into rounds."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servegate.load.requests import Completion
from servegate.load.server_timing import mean_stages, parse_server_timing
from servegate.records import StageTime

_WINDOW_S = 0.5


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
    stages:
        Of these requests on average; empty where the service doesn't tell.
    """

    rounds_s: list[float]
    requests_per_round: int
    latencies_ms: list[float]
    failures: list[str]
    client_cpu_cores: float
    stages: Mapping[str, StageTime]

    @classmethod
    def from_completions(
        cls, completions: Sequence[Completion], concurrency: int, failures: list[str], client_cpu_cores: float
    ) -> "LoadResult":
        """Cut the completions of a load into windows, see `cut_windows`."""
        completions = sorted(completions)
        rounds_s, requests_per_round = cut_windows([item.at_s for item in completions], concurrency)
        return cls(
            rounds_s=[] if failures else rounds_s,
            requests_per_round=requests_per_round,
            latencies_ms=[item.duration_s * 1e3 for item in completions],
            failures=failures,
            client_cpu_cores=client_cpu_cores,
            stages=mean_stages([parse_server_timing(item.server_timing) for item in completions]),
        )


@dataclass(frozen=True)
class SteadyResult:
    """What the client saw of a load that went on until it was told to stop.

    Attributes
    ----------
    completions:
        Of each request since the warm-up, on the system's monotonic clock.
    failures:
        What was wrong with each failed request; the load stops after a few.
    client_cpu_s:
        CPU-seconds of the client since the warm-up.
    """

    completions: list[Completion]
    failures: list[str]
    client_cpu_s: float


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


def parse_result(line: str) -> LoadResult:
    """The result line of the client process."""
    result: dict[str, Any] = json.loads(line)["result"]
    stages = {name: StageTime(**stage) for name, stage in result.pop("stages").items()}
    return LoadResult(**result, stages=stages)


def parse_steady_result(line: str) -> SteadyResult:
    """The result line of a client that was told to stop."""
    result: dict[str, Any] = json.loads(line)["result"]
    return SteadyResult([Completion(*item) for item in result.pop("completions")], **result)

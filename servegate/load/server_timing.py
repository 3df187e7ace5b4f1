"""Where a request's time went, as the service says in each answer's `Server-Timing` header (a W3C recommendation).

    Server-Timing: decode;dur=1.912;cpu=1.850;end=1795426500.123456, predict;dur=84.1;cpu=80.2;shared=8;end=...

`dur` is the standard's own parameter: how long the stage took, in ms. The others are ours, and readers that don't know
them skip them: `cpu`, its CPU time in ms, for a stage that works and doesn't only wait; `shared`, how many requests it
served at a time; `end`, when it ended, in seconds of Unix time, by which pauses can be taken out of it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from servegate.records import StageTime

HEADER = "Server-Timing"

_TOKEN = r"[\w!#$%&'*+.^`|~-]+"
_METRIC = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"]|")+')
_NAME = re.compile(rf"\s*({_TOKEN})\s*(?:;|$)")
# CDNs write values that the standard wants in quotes: desc=cache hit.
_PARAMETERS = re.compile(rf';\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


@dataclass(frozen=True)
class StageSpan:
    """One stage of one request.

    Attributes
    ----------
    duration_s, cpu_s:
        From its beginning to its end, and its CPU time; None if it only waits.
    shared:
        Requests that it served at a time.
    ended_at_s:
        Unix time; None if the service doesn't say.
    """

    name: str
    duration_s: float
    cpu_s: float | None
    shared: int
    ended_at_s: float | None


def parse_server_timing(header: str) -> list[StageSpan]:
    """The stages that the header gives a duration for; what can't be read, as proxies and CDNs add it, is skipped."""
    spans = []
    for metric in _METRIC.findall(header):
        name = _NAME.match(metric)
        if name is not None:
            parameters = {key.lower(): value.strip(' \t"') for key, value in _PARAMETERS.findall(metric)}
            spans.append(_span(name[1], parameters))
    return [span for span in spans if span is not None]


def _span(name: str, parameters: dict[str, str]) -> StageSpan | None:
    try:
        numbers = {key: float(parameters[key]) for key in ("dur", "cpu", "end") if key in parameters}
        shared = int(parameters.get("shared", "1"))
    except ValueError:
        return None
    if "dur" not in numbers or shared < 1 or not all(map(math.isfinite, numbers.values())):
        return None
    cpu_s = numbers["cpu"] / 1e3 if "cpu" in numbers else None
    return StageSpan(name, numbers["dur"] / 1e3, cpu_s, shared, numbers.get("end"))


def mean_stages(requests: Sequence[Sequence[StageSpan]]) -> dict[str, StageTime]:
    """What each stage took of a request on average; a request that didn't pass through a stage counts with 0.

    The CPU time of a stage that requests share is shared out evenly among them.
    """
    spans: dict[str, list[StageSpan]] = {}
    for request in requests:
        for span in request:
            spans.setdefault(span.name, []).append(span)
    return {
        name: StageTime(
            ms=fmean(span.duration_s for span in found) * len(found) / len(requests) * 1e3,
            cpu_ms=_mean_cpu_ms(found, len(requests)),
        )
        for name, found in spans.items()
    }


def _mean_cpu_ms(spans: Sequence[StageSpan], requests: int) -> float | None:
    cpu_s = [span.cpu_s / span.shared for span in spans if span.cpu_s is not None]
    return sum(cpu_s) / requests * 1e3 if cpu_s else None

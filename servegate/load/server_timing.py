"""The times of the stages of a request, which the service reports in the `Server-Timing` header (W3C recommendation).

    Server-Timing: decode;dur=1.912;cpu=1.850;end=1795426500.123456, predict;dur=84.1;cpu=80.2;shared=8;end=...

`dur` is a parameter of the standard: the duration of the stage in ms. The others are our own, and other readers skip
them. `cpu` is the CPU time of the stage in ms, for a stage that works and doesn't only wait. `shared` is the number of
requests that it served together. `end` is the Unix time of its end in seconds, which the gate needs to subtract pauses.
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
# CDNs write values without the quotes that the standard requires: desc=cache hit.
_PARAMETERS = re.compile(rf';\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


@dataclass(frozen=True)
class StageSpan:
    """One stage of one request.

    Attributes
    ----------
    duration_s, cpu_s:
        Seconds from its beginning to its end, and its CPU time, which is None if it only waits.
    shared:
        The number of requests that it served together.
    ended_at_s:
        Unix time of its end; None if the service doesn't report it.
    """

    name: str
    duration_s: float
    cpu_s: float | None
    shared: int
    ended_at_s: float | None


def parse_server_timing(header: str) -> list[StageSpan]:
    """Read the stages with a duration; skip entries that are not readable, as proxies and CDNs may add them."""
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
    """Average the time of each stage over the requests; a request without a stage counts as 0 for it.

    If several requests share a stage, its CPU time is divided evenly among them.
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

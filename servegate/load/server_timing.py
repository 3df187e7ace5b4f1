"""Where a request's time went, as the service says in each answer's `Server-Timing` header (a W3C recommendation).

    Server-Timing: decode;dur=1.912;cpu=1.850;end=1795426500.123456, predict;dur=84.1;cpu=80.2;shared=8;end=...

`dur` is the standard's own parameter: how long the stage took, in ms. The others are ours, and readers that don't know
them skip them: `cpu`, its CPU time in ms, for a stage that works and doesn't only wait; `shared`, how many requests it
served at a time; `end`, when it ended, in seconds of Unix time, by which pauses can be taken out of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from servegate.errors import MeasurementError
from servegate.records import StageTime

HEADER = "Server-Timing"

_TOKEN = r"[\w!#$%&'*+.^`|~-]+"
_PARAMETER = rf';\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|{_TOKEN})\s*'
_METRIC = re.compile(rf"[\s,]*({_TOKEN})\s*((?:{_PARAMETER})*)(?:,|$)")
_PARAMETERS = re.compile(_PARAMETER)


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
    """The stages that the header gives a duration for.

    Raises
    ------
    MeasurementError
        When it is not written as the standard says, or a number in it is none.
    """
    spans = []
    position, end = 0, len(header.rstrip(" \t,"))
    while position < end:
        metric = _METRIC.match(header, position)
        if metric is None:
            raise MeasurementError(f"the service's {HEADER} header can't be read from {header[position:][:80]!r} on")
        position = metric.end()
        parameters = {name.lower(): value.strip('"') for name, value in _PARAMETERS.findall(metric[2])}
        if "dur" in parameters:
            spans.append(_span(metric[1], parameters, header))
    return spans


def _span(name: str, parameters: dict[str, str], header: str) -> StageSpan:
    try:
        cpu, end = parameters.get("cpu"), parameters.get("end")
        span = StageSpan(
            name,
            duration_s=float(parameters["dur"]) / 1e3,
            cpu_s=None if cpu is None else float(cpu) / 1e3,
            shared=int(parameters.get("shared", "1")),
            ended_at_s=None if end is None else float(end),
        )
    except ValueError as error:
        raise MeasurementError(f"a number of the service's {HEADER} header is none ({error}): {header!r}") from error
    if span.shared < 1:
        raise MeasurementError(f"a stage of the service's {HEADER} header is shared by less than one: {header!r}")
    return span


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

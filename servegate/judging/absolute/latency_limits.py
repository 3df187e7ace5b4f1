"""Limits of latency that a user sets: they hold whatever the base does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scipy import special

from servegate.judging.cell_result import CellResult
from servegate.judging.slow_answers import count_slow, list_latencies
from servegate.records import Cell, Status, Verdict

# A share that is as large as the allowed one is exceeded by chance in half of the runs.
_ERROR_LEVEL = 0.05
# These weigh more than slow answers.
_GRAVER = frozenset({Status.REGRESSED, Status.INVALID, Status.BASE_FAILED})


@dataclass(frozen=True)
class LatencyLimits:
    """The latencies that are too long, and how many answers may take that long.

    Both are by the names of groups (`api`) and cells (`api[64]`), of which a cell's takes precedence; what stands under
    the empty name holds for all others.

    Attributes
    ----------
    slow_ms:
        The latency beyond which an answer is slow.
    allowed:
        The share of slow answers beyond which a cell fails; without one it doesn't fail.
    """

    slow_ms: Mapping[str, float] = field(default_factory=dict)
    allowed: Mapping[str, float] = field(default_factory=dict)


def hold_to_limits(result: CellResult, limits: LatencyLimits) -> CellResult:
    """Set the limit beyond which a cell's answers are slow, and give it the verdict SLOW if more are than allowed.

    More than allowed are those that chance explains in fewer than one run of twenty, if answers are slow independently
    of each other. A cell without latencies, as of a target that is no server, has no slow answers.
    """
    slow_ms = _find(limits.slow_ms, result.cell)
    if slow_ms is None or not list_latencies([*result.samples, *result.bases]):
        return result
    result, latencies_ms = replace(result, slow_ms=slow_ms), list_latencies(result.samples)
    slow, allowed = count_slow(latencies_ms, slow_ms), _find(limits.allowed, result.cell)
    if allowed is None or result.verdict.status in _GRAVER or not _is_more(slow, len(latencies_ms), allowed):
        return result
    return replace(result, verdict=_find_slow(result.verdict, slow, len(latencies_ms), slow_ms, allowed))


def _find(by_name: Mapping[str, float], cell: Cell) -> float | None:
    return by_name.get(cell.setting_name, by_name.get(cell.group, by_name.get("")))


def _is_more(slow: int, answers: int, allowed: float) -> bool:
    """Whether more answers are slow than chance explains where the allowed share is: an exact binomial test."""
    return slow > allowed * answers and float(special.bdtrc(slow - 1, answers, allowed)) < _ERROR_LEVEL


def _find_slow(verdict: Verdict, slow: int, answers: int, slow_ms: float, allowed: float) -> Verdict:
    reason = (
        f"{slow} of {answers} answers ({100 * slow / answers:.3g} %) took more than {slow_ms:g} ms, "
        f"{100 * allowed:g} % may (perf_slow_percent)"
    )
    evidence = (*verdict.evidence, f"without this limit {verdict.status}: {verdict.reason}")
    return replace(verdict, status=Status.SLOW, reason=reason, evidence=evidence)

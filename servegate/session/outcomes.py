"""Pure functions that change a cell's result when the gate learns more."""

from dataclasses import replace

from servegate.judging.absolute.slowing import describe_slowing
from servegate.judging.cell_result import CellResult
from servegate.records import Status, Verdict

# Verdicts of the stored baseline that must be confirmed side by side: a machine that is slower or faster today than
# when the figures were stored makes them as well, and the baseline has no figures of a new cell.
_UNCLEAR = frozenset({Status.REGRESSED, Status.INCONCLUSIVE, Status.IMPROVED, Status.NO_BASELINE})
_SLOWER_OR_OPEN = frozenset({Status.REGRESSED, Status.INCONCLUSIVE})


def is_unclear(result: CellResult) -> bool:
    """Whether the stored baseline alone must not have the last word."""
    return result.verdict.status in _UNCLEAR


def confirm(screened: CellResult, compared: CellResult, failure: Exception | None) -> CellResult:
    """Choose the result of a cell that the stored baseline could not clear.

    Parameters
    ----------
    screened:
        The result by the stored baseline.
    compared:
        The result side by side; where there is none, `screened` again.
    failure:
        Why nothing was compared; None if something was.
    """
    before, now = screened.verdict, compared.verdict
    if failure is not None or now.status is Status.BASE_FAILED:
        evidence = (*before.evidence, f"not confirmed side by side: {failure or now.reason}")
        return replace(screened, verdict=replace(before, evidence=evidence))
    if now.status is Status.PASS and before.status is Status.REGRESSED:
        return _with_reason(compared, f"{now.reason}; the machine is slower today than when the baseline was stored")
    # If the run's time ended before the first pair, only the screen has samples.
    return compared if compared.pairs else replace(screened, verdict=now)


def excuse_base(result: CellResult) -> CellResult:
    """Turn BASE_FAILED into NO_BASELINE: a base that the user did not name may answer unlike what the head expects."""
    if result.verdict.status is not Status.BASE_FAILED:
        return result
    return replace(result, verdict=replace(result.verdict, status=Status.NO_BASELINE))


def explain_missing_base(result: CellResult, failure: Exception) -> CellResult:
    """Add to a result without a baseline the reason why there is none."""
    return _with_reason(result, str(failure)) if result.verdict.status is Status.NO_BASELINE else result


def tell_slowing(result: CellResult) -> CellResult:
    """Let a result that isn't cleared say so if every process slows down as it runs."""
    slowing = describe_slowing(result.samples)
    if not slowing or result.verdict.status not in _SLOWER_OR_OPEN:
        return result
    return _with_reason(result, f"{result.verdict.reason}; {slowing}")


def inform(verdict: Verdict, *, is_wrong: bool) -> Verdict:
    """The verdict of a group that only informs: nothing but a wrong answer is judged."""
    return verdict if is_wrong else replace(verdict, status=Status.INFORMS)


def leave_unjudged(verdict: Verdict) -> Verdict:
    """The verdict of a run that compares nothing: INVALID stands, and there is no baseline to miss."""
    if verdict.status is not Status.NO_BASELINE:
        return verdict
    return replace(verdict, status=Status.NOT_JUDGED, reason="run with --benchmark-compare to judge")


def _with_reason(result: CellResult, reason: str) -> CellResult:
    return replace(result, verdict=replace(result.verdict, reason=reason))

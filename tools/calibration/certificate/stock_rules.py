"""Apply rules in common use to the same recorded processes: each run against the run before it."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

from scipy.stats import mannwhitneyu

from tools.calibration.pairs import PairRecord, common_cells

# Of the rounds of one cell before and now, in seconds.
Rule = Callable[[Sequence[float], Sequence[float]], bool]

_ASV_FACTOR = 1.1
_ASV_P = 0.002
_RETRIES = 10


def _slower(statistic: Callable[[Sequence[float]], float], share: float) -> Rule:
    return lambda before, now: statistic(now) > statistic(before) * (1 + share)


def _asv(before: Sequence[float], now: Sequence[float]) -> bool:
    """Slower by its factor, and the rounds differ by the U test (asv compare's default)."""
    return median(now) > median(before) * _ASV_FACTOR and mannwhitneyu(before, now).pvalue < _ASV_P


RULES: Mapping[str, Rule] = {
    "pytest-benchmark mean:5%": _slower(fmean, 0.05),
    "pytest-benchmark min:5%": _slower(min, 0.05),
    "pytest-benchmark median:10%": _slower(median, 0.10),
    "asv: factor 1.1 and Mann-Whitney": _asv,
}
RETRIED = "mean:5%, best of ten runs"


def red_runs(before: Sequence[PairRecord], now: Sequence[PairRecord]) -> dict[str, list[bool]]:
    """Find for each rule the runs that it would have failed because it calls one of their cells slower.

    Parameters
    ----------
    before:
        Pairs whose base arm is the run before; shifted by one, so that the two were never interleaved.
    now:
        Pairs whose head arm is the run that is judged, by the cells that they have.
    """
    cells = common_cells([*before, *now])
    runs = list(zip(before[:-1], now[1:], strict=True))
    red = {
        name: [
            any(rule(_rounds_s(one.cells[cell].base_per_s), _rounds_s(other.cells[cell].head_per_s)) for cell in cells)
            for one, other in runs
        ]
        for name, rule in RULES.items()
    }
    mean = RULES["pytest-benchmark mean:5%"]
    red[RETRIED] = [
        any(
            all(
                mean(_rounds_s(one.cells[cell].base_per_s), _rounds_s(tried.cells[cell].head_per_s))
                for tried in _retries(now, place)
            )
            for cell in cells
        )
        for place, (one, _) in enumerate(runs)
    ]
    return red


def _retries(now: Sequence[PairRecord], place: int) -> list[PairRecord]:
    """The run and those after it, from the start again past the end."""
    return [now[(place + 1 + retry) % len(now)] for retry in range(min(_RETRIES, len(now) - 1))]


def _rounds_s(rates_per_s: Sequence[float]) -> list[float]:
    return [1 / rate for rate in rates_per_s]

"""Find the stage of a request that made throughput change, from all cells and pairs together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from servegate.findings.wording import quote, write_figure, write_share
from servegate.judging.cell_result import CellResult
from servegate.judging.estimators import geometric_mean
from servegate.judging.stages import PartsOfPair, StageChange, compare_stages, is_moved, stages_that_moved
from servegate.records import REST, Change, StageTime

# The smallest change of a stage that is named.
_LEAST_CHANGE = 0.02
# A stage that moved by less than this share of what the first one did is its echo, as through a shared cache.
_SHARE_OF_FIRST = 0.5


@dataclass(frozen=True)
class Cause:
    """A stage that takes more or less than in the base.

    Attributes
    ----------
    stage:
        Its name.
    change:
        Relative, with its 95 % interval by pair of fresh processes.
    figure:
        The time that changed: `CPU time` or `time`.
    """

    stage: str
    change: Change
    figure: str


def pool_stages(results: Iterable[CellResult]) -> tuple[StageChange, ...]:
    """Compare stages over cells: one estimate for each stage.

    The replicate is the pair of fresh processes, so a stage's change in a pair is the mean over the cells of the pair;
    the interval comes from how far pairs differ. The times are geometric means over the cells.
    """
    pairs: dict[tuple[str, int], list[PartsOfPair]] = {}
    for result in results:
        for number, pair in enumerate(result.pairs):
            base, head = pair.parts
            if base and head:
                pairs.setdefault((result.cell.group, number), []).append((base, head))
    return compare_stages([_pool(cells) for cells in pairs.values()])


def _pool(cells: Sequence[PartsOfPair]) -> PartsOfPair:
    names = [name for name in cells[0][1] if all(name in base and name in head for base, head in cells)]
    return (
        {name: _mean([base[name] for base, _ in cells]) for name in names},
        {name: _mean([head[name] for _, head in cells]) for name in names},
    )


def _mean(stages: Sequence[StageTime]) -> StageTime:
    return StageTime(
        _mean_of_times([stage.ms for stage in stages]) or 0.0,
        _mean_of_times([stage.cpu_ms for stage in stages]),
    )


def _mean_of_times(values: Sequence[float | None]) -> float | None:
    """Return None where a value is missing, or too small to be a time."""
    known = [value for value in values if value is not None and value > 0]
    return geometric_mean(known) if len(known) == len(values) else None


def find_causes(results: Sequence[CellResult], *, slower: bool) -> list[Cause]:
    """Return the stages that explain a slowdown or a speedup, the one that moved by the most milliseconds first.

    Parameters
    ----------
    results:
        The cells that are to be explained.
    slower:
        Whether they lost throughput: then only a stage that takes longer explains it, else one that takes less.
    """
    moved = stages_that_moved(pool_stages(results), _LEAST_CHANGE)
    by_cpu = any(is_moved(stage.cpu, _LEAST_CHANGE) for stage in moved)
    causes, most_ms = [], 0.0
    for stage in moved:
        change = stage.cpu if by_cpu else stage.took
        ms = abs(_ms(stage.head, by_cpu=by_cpu) - _ms(stage.base, by_cpu=by_cpu))
        if change is not None and (change.estimate > 0) == slower and ms >= _SHARE_OF_FIRST * most_ms:
            causes.append(Cause(stage.name, change, "CPU time" if by_cpu else "time"))
            most_ms = max(most_ms, ms)
    return causes


def _ms(stage: StageTime, *, by_cpu: bool) -> float:
    return (stage.cpu_ms or 0.0) if by_cpu else stage.ms


def describe_causes(causes: Sequence[Cause]) -> str:
    """Write causes as "`predict` takes 9.4 % more CPU time [9.0, 9.8]"; empty without a cause."""
    return ", ".join(_describe(cause) for cause in causes)


def _describe(cause: Cause) -> str:
    name = "what no stage accounts for" if cause.stage == REST else quote(cause.stage)
    size, low, high = (abs(value) for value in (cause.change.estimate, cause.change.low, cause.change.high))
    more = "more" if cause.change.estimate > 0 else "less"
    low, high = sorted((low, high))
    return f"{name} takes {write_share(size)} {more} {cause.figure} [{write_figure(low)}, {write_figure(high)}]"

"""Find which stage of a request changed, and by how much, from the same interleaved pairs that judged the cell.

A stage's own CPU time says most: where cores are short, a stage that needs more of them makes the others wait, and
their time grows with it, but not their CPU time. Only where no stage's CPU time moved is one named by its time, as when
it waits for a lock or a disk. A stage that has no CPU time, such as a queue, only waits for others and is never named.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from servegate.judging.estimators import paired_mean
from servegate.records import Change, StageTime

# The times of the parts of a request in the base, and in the head.
PartsOfPair = tuple[Mapping[str, StageTime], Mapping[str, StageTime]]


@dataclass(frozen=True)
class StageChange:
    """One part of a request, base against head.

    Attributes
    ----------
    name:
        The name of a stage, or `rest`.
    base, head:
        Means over the pairs.
    cpu, took:
        Relative change of its CPU time for a request and of its time, 0.1 is 10 % longer; None where there is none.
    """

    name: str
    base: StageTime
    head: StageTime
    cpu: Change | None
    took: Change | None


def compare_stages(pairs: Sequence[PartsOfPair]) -> tuple[StageChange, ...]:
    """Part by part, in the order in which a request passes them.

    Empty with less than two pairs, or where a service doesn't tell its stages.

    Parameters
    ----------
    pairs:
        Each a request's parts in the base and in the head, see `Sample.parts`.
    """
    if len(pairs) < 2:
        return ()
    changes = []
    for name in pairs[0][1]:
        if all(name in base and name in head for base, head in pairs):
            before, now = [base[name] for base, _ in pairs], [head[name] for _, head in pairs]
            changes.append(
                StageChange(
                    name,
                    mean_stage(before),
                    mean_stage(now),
                    cpu=_change([stage.cpu_ms for stage in before], [stage.cpu_ms for stage in now]),
                    took=_change([stage.ms for stage in before], [stage.ms for stage in now]),
                )
            )
    return tuple(changes)


def mean_stage(stages: Sequence[StageTime]) -> StageTime:
    """Average over one or more processes; the CPU time is None if one of them has none."""
    cpu_ms = [stage.cpu_ms for stage in stages if stage.cpu_ms is not None]
    return StageTime(fmean(stage.ms for stage in stages), fmean(cpu_ms) if len(cpu_ms) == len(stages) else None)


def stages_that_moved(changes: Sequence[StageChange], margin: float) -> list[StageChange]:
    """Return the stages whose CPU time moved, or, if there are none, those whose time moved; see `is_moved`.

    The stage that moved by the most milliseconds comes first.
    """
    working = [change for change in changes if change.cpu is not None]
    by_cpu = [change for change in working if is_moved(change.cpu, margin)]
    if by_cpu:
        return sorted(by_cpu, key=lambda change: -abs((change.head.cpu_ms or 0.0) - (change.base.cpu_ms or 0.0)))
    by_time = [change for change in working if is_moved(change.took, margin)]
    return sorted(by_time, key=lambda change: -abs(change.head.ms - change.base.ms))


def is_moved(change: Change | None, margin: float) -> bool:
    """Whether a change is as large as the margin, and its interval leaves out zero."""
    return change is not None and abs(change.estimate) >= margin and (change.low > 0 or change.high < 0)


def name_stages(changes: Sequence[StageChange], margin: float) -> str:
    """Describe the stages that moved, with their intervals."""
    moved = stages_that_moved(changes, margin)
    return "; ".join(_describe(change, margin) for change in moved) if moved else "no stage stands out"


def describe_stages(changes: Sequence[StageChange], margin: float) -> str:
    """Name the stages that moved, as `name_stages` does, and the others: with their intervals if no stage moved."""
    moved = stages_that_moved(changes, margin)
    others = [change for change in changes if change not in moved]
    if moved:
        said = f"no change found in {', '.join(change.name for change in others)}" if others else ""
    else:
        said = ", ".join(_describe(change, margin) for change in others if change.cpu)
    return "; ".join(filter(None, (name_stages(changes, margin), said)))


def _describe(change: StageChange, margin: float) -> str:
    if not is_moved(change.cpu, margin) and is_moved(change.took, margin):
        return f"{change.name} {change.took} of its time ({change.base.ms:.3g} to {change.head.ms:.3g} ms)"
    return f"{change.name} {change.cpu} of its CPU time ({change.base.cpu_ms:.3g} to {change.head.cpu_ms:.3g} ms)"


def _change(base: Sequence[float | None], head: Sequence[float | None]) -> Change | None:
    """Compute the mean change; None if a value is missing or 0."""
    known = [(before, now) for before, now in zip(base, head, strict=True) if before and now and min(before, now) > 0]
    if len(known) < len(base):
        return None
    return paired_mean([math.log(now / before) for before, now in known]).as_change()

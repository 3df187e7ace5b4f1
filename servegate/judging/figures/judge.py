"""The judge of figures: values of pairs of fresh processes come in, verdicts come out.

Head and base are compared by the exact rank test of their processes, or by the paired t test where the figure follows
the machine's speed, at looks that the policy declares. A figure that lies within its margin never keeps a run going.
One beyond it does, until its next look says whether it is a change.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from servegate.judging.estimators import paired_mean
from servegate.judging.figures.kinds import FigureKind, GroupFigure
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.figures.rank_test import p_higher
from servegate.judging.figures.result import FigureResult
from servegate.judging.figures.values import as_change, difference, read_value
from servegate.records import Cell, Change, ProcessRecord, Sample, Status, Verdict

LEFT_TO_THROUGHPUT = "throughput tells it"
# After so many pairs that should have shown a figure and didn't, others won't either.
_MOST_MISSING = 2
_CONFIDENCE = 0.95
_INTERVAL_CONFIDENCE = 0.975


@dataclass
class _Series:
    """One figure of one group: a value for each pair, computed over all its cells."""

    kind: FigureKind
    cells: Sequence[Cell]
    margin: float
    base: list[float] = field(default_factory=list)
    head: list[float] = field(default_factory=list)
    status: Status | None = None
    is_left: bool = False
    has_ended: bool = False
    missing: int = 0
    p: float | None = None

    @property
    def values(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(self.base), tuple(self.head)

    @property
    def differences(self) -> list[float]:
        return [difference(self.kind, *values) for values in zip(self.base, self.head, strict=True)]

    @property
    def estimate(self) -> float:
        """The median change over the pairs: a single process that something disturbed moves it little."""
        return as_change(self.kind, median(self.differences))


class FigureJudge:
    """Judges the figures of groups, each by itself.

    Parameters
    ----------
    groups:
        The figures that each group's processes show, and the group's cells.
    """

    def __init__(self, policy: FigurePolicy, groups: Mapping[str, tuple[Sequence[FigureKind], Sequence[Cell]]]) -> None:
        self._policy = policy
        self._series = {
            (group, kind): _Series(kind, policy.cells_of(kind, cells), margin)
            for group, (kinds, cells) in groups.items()
            for kind in kinds
            if (margin := policy.margin_of(kind, group)) is not None
        }
        # Counted once: a group that drops out later must not make the others' levels wider.
        self._groups = Counter(kind for _, kind in self._series)

    def add(
        self,
        group: str,
        processes: tuple[ProcessRecord, ProcessRecord],
        samples: Mapping[Cell, tuple[Sample, Sample]],
    ) -> None:
        """Take one pair of fresh processes, and test the figures that are due for a look.

        Parameters
        ----------
        processes:
            The records of the base and of the head.
        samples:
            The samples of the base and of the head, for each cell that was loaded.
        """
        for (name, kind), series in self._series.items():
            if name != group:
                continue
            measured = [samples.get(cell) for cell in series.cells]
            base, head = (
                read_value(kind, process, [None if pair is None else pair[arm] for pair in measured])
                for arm, process in enumerate(processes)
            )
            if base is not None and head is not None:
                self.add_value(GroupFigure(group, kind), base, head)
            elif self._is_suspected(series):
                # The pair was measured for this figure, and a wrong answer may have left it without a value.
                series.missing += 1
                series.has_ended = series.missing == _MOST_MISSING

    def add_value(self, figure: GroupFigure, base: float, head: float) -> None:
        """Take a figure's values of one pair of fresh processes, and test it if it is due for a look."""
        series = self._series[figure.group, figure.kind]
        if series.status is None and not series.is_left and not series.has_ended:
            series.base.append(base)
            series.head.append(head)
            self._look(series)

    def _look(self, series: _Series) -> None:
        if len(series.base) not in self._policy.looks:
            return
        level = self._level(series.kind)
        p_more, p_less = _test(series)
        series.p = p_more
        if series.estimate >= series.margin and p_more < level:
            series.status = Status.REGRESSED
        elif series.estimate <= -series.margin and p_less < level:
            series.status = Status.IMPROVED

    def _level(self, kind: FigureKind) -> float:
        return self._policy.level(kind, self._groups[kind])

    def kinds(self, group: str) -> list[FigureKind]:
        """The figures that are judged in a group."""
        return [kind for name, kind in self._series if name == group]

    def cells_judged_for(self, kind: FigureKind, group: str) -> Sequence[Cell]:
        """The cells that a group's figure is computed over; none where it isn't judged."""
        series = self._series.get((group, kind))
        return () if series is None else series.cells

    def open_kinds(self, group: str) -> list[FigureKind]:
        """The group's figures that lie beyond their margin and have a further look."""
        return [kind for (name, kind), series in self._series.items() if name == group and self._is_suspected(series)]

    def _is_suspected(self, series: _Series) -> bool:
        return (
            series.status is None
            and not series.is_left
            and not series.has_ended
            and self._policy.first_pairs <= len(series.base) < self._policy.looks[-1]
            and series.estimate >= series.margin
        )

    @property
    def is_any_open(self) -> bool:
        """Whether a figure lies beyond its margin and has a further look."""
        return any(map(self._is_suspected, self._series.values()))

    def leave_to_throughput(self, group: str, kind: FigureKind) -> None:
        """Stop judging a figure that a slower service changes anyway: throughput already tells it."""
        series = self._series.get((group, kind))
        if series is not None and series.status is None:
            series.is_left = True

    def end(self, group: str) -> None:
        """Judge a group's figures by the values so far: its processes show no others."""
        for (name, _), series in self._series.items():
            if name == group:
                series.has_ended = True

    def drop(self, group: str) -> None:
        """Stop judging a group that can't be measured."""
        for key in [key for key in self._series if key[0] == group]:
            del self._series[key]

    def results(self) -> tuple[FigureResult, ...]:
        """The verdict on each figure, in the order of the groups."""
        return tuple(self._judge(group, series) for (group, _), series in self._series.items())

    def _judge(self, group: str, series: _Series) -> FigureResult:
        figure, pairs = GroupFigure(group, series.kind), len(series.base)
        if pairs < self._policy.first_pairs:
            reason = f"{pairs} of the {self._policy.first_pairs} pairs that a first look needs show it"
            return FigureResult(figure, Verdict(Status.NOT_JUDGED, reason), series.margin)
        change, excluded = _estimate(series)
        if series.is_left:
            status, reason = Status.NOT_JUDGED, LEFT_TO_THROUGHPUT
        else:
            status = series.status or (Status.INCONCLUSIVE if change.estimate >= series.margin else Status.PASS)
            reason = self._explain(series, status, change, excluded)
        verdict = Verdict(status, reason, evidence=self._tell(series))
        return FigureResult(figure, verdict, series.margin, change, excluded, *series.values)

    def _explain(self, series: _Series, status: Status, change: Change, excluded: float) -> str:
        kind, margin = series.kind, series.kind.write(series.margin).removeprefix("+")
        size = kind.write(change.estimate)
        if status in (Status.REGRESSED, Status.IMPROVED):
            return f"{kind.meaning} {size}: {margin} or more, and more than fresh processes differ"
        if status is Status.INCONCLUSIVE:
            return f"{kind.meaning} {size}: {margin} or more, but {len(series.base)} pairs can't tell it from chance"
        return f"{kind.meaning} {size}; {kind.write(excluded)} is excluded at {_CONFIDENCE:.0%}"

    def _tell(self, series: _Series) -> tuple[str, ...]:
        shown = " ".join(series.kind.write(as_change(series.kind, value)) for value in series.differences)
        what = "differences" if series.kind.is_paired else "ranks"
        tested = "" if series.p is None else f"; p of {what} this high without a change {series.p:.2g}"
        looks = ", ".join(map(str, self._policy.looks))
        return (
            f"pairs    {shown}",
            f"accused below p {self._level(series.kind):.2g}, at looks after {looks} pairs{tested}",
        )


def _test(series: _Series) -> tuple[float, float]:
    """The probabilities that an unchanged figure is this high or higher in the head, and this low or lower."""
    if series.kind.is_paired:
        mean = paired_mean(series.differences)
        return float(mean.p_higher()), float(mean.p_lower())
    base, head = np.array(series.base), np.array(series.head)
    return float(p_higher(base, head)), float(p_higher(head, base))


def _estimate(series: _Series) -> tuple[Change, float]:
    """The median change with an interval as wide as that of the mean, and the growth that is excluded at 95 %."""
    spread = paired_mean(series.differences)
    centre = median(series.differences)
    half, one_sided = float(spread.half_width(_INTERVAL_CONFIDENCE)), float(spread.half_width(_CONFIDENCE))
    low, middle, high, most = (
        as_change(series.kind, value) for value in (centre - half, centre, centre + half, centre + one_sided)
    )
    return Change(middle, low, high), max(0.0, most)

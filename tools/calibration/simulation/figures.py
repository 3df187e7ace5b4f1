"""Simulated runs of the judge of figures: pairs are drawn from recorded ones and judged as a live run judges them.

Throughput is taken to be decided at the first look, so that a run goes on for a figure alone.

A run's pairs follow each other, while those of a record come from many hours, in which a shared machine was faster or
slower. So figures that are compared by their ratio are scaled to one level of the base in each recorded run.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from servegate.judging.figures.judge import FigureJudge
from servegate.judging.figures.kinds import FIGURE_KINDS, FigureKind, GroupFigure
from servegate.judging.figures.policy import FigurePolicy
from servegate.records import Cell, Status
from tools.calibration.pairs import PairRecord

_KINDS = {kind.name: kind for kind in FIGURE_KINDS}
_NEXT = timedelta(minutes=5)
_LEAST_PAIRS = 3


@dataclass(frozen=True)
class FigureOutcomes:
    """The outcomes of simulated runs.

    Attributes
    ----------
    statuses:
        In each run, the status of each figure by its name.
    pairs:
        The pairs that each run measured.
    """

    statuses: Sequence[Mapping[str, Status]]
    pairs: Sequence[int]

    def are_any(self, *statuses: Status) -> list[bool]:
        """Return for each run whether one of its figures has one of the statuses."""
        return [any(status in statuses for status in run.values()) for run in self.statuses]

    def are(self, figure: str, status: Status) -> list[bool]:
        """Return for each run whether a figure has a status."""
        return [run.get(figure) is status for run in self.statuses]


def simulate_figures(
    policy: FigurePolicy,
    pairs: Sequence[PairRecord],
    runs: int,
    rng: np.random.Generator,
    *,
    judged: Collection[str],
    is_identical: bool,
) -> FigureOutcomes:
    """Draw the pairs of many runs from recorded ones, with replacement.

    Parameters
    ----------
    pairs:
        Recorded ones of one kind, each with the same figures.
    judged:
        The names of all figures that a run judges, which share the error level; the pairs may lack some of them.
    is_identical:
        Whether base and head ran the same code: which is which is then drawn, too.
    """
    figures, groups = (
        [parse_figure(name) for name in pairs[0].figures],
        _by_group([parse_figure(name) for name in judged]),
    )
    statuses, lengths = [], []
    for _ in range(runs):
        judge = FigureJudge(policy, groups)
        drawn = rng.integers(len(pairs), size=policy.looks[-1])
        swapped = rng.integers(2, size=policy.looks[-1]) * is_identical
        for number, (place, is_swapped) in enumerate(zip(drawn, swapped, strict=True), start=1):
            for figure in figures:
                base, head = pairs[place].figures[str(figure)]
                if number <= policy.first_pairs or figure.kind in judge.open_kinds(figure.group):
                    judge.add_value(figure, *((head, base) if is_swapped else (base, head)))
            if number >= policy.first_pairs and not judge.is_any_open:
                break
        statuses.append({str(result.figure): result.verdict.status for result in judge.results()})
        lengths.append(number)
    return FigureOutcomes(statuses, lengths)


def put_on_one_level(pairs: Sequence[PairRecord]) -> list[PairRecord]:
    """Scale the figures that are compared by their ratio, so that the base's mean is the same in each recorded run.

    Pairs that began less than five minutes after the one before are of one run. One of two pairs keeps its level, of
    which they say too little.
    """
    began = [datetime.fromisoformat(pair.began) for pair in pairs]
    first = [
        number for number, at in enumerate(began) if number == 0 or not _NEXT > at - began[number - 1] >= timedelta(0)
    ]
    runs = [pairs[start:end] for start, end in pairwise([*first, len(pairs)])]
    scaled = []
    for run in runs:
        levels = {
            name: _level(run, name) / _level(pairs, name)
            for name in run[0].figures
            if parse_figure(name).kind.is_relative and len(run) >= _LEAST_PAIRS
        }
        for pair in run:
            figures = {
                name: (base / levels.get(name, 1.0), head / levels.get(name, 1.0))
                for name, (base, head) in pair.figures.items()
            }
            scaled.append(replace(pair, figures=figures))
    return scaled


def _level(pairs: Sequence[PairRecord], name: str) -> float:
    return float(np.exp(np.mean([np.log(pair.figures[name][0]) for pair in pairs])))


def parse_figure(name: str) -> GroupFigure:
    """Read a figure's name, as in `api tail`."""
    group, _, kind = name.rpartition(" ")
    return GroupFigure(group, _KINDS[kind])


def _by_group(figures: Sequence[GroupFigure]) -> dict[str, tuple[Sequence[FigureKind], Sequence[Cell]]]:
    return {
        group: ([figure.kind for figure in figures if figure.group == group], ())
        for group in dict.fromkeys(figure.group for figure in figures)
    }

"""A few pairs of fresh processes of identical code: the working tree beside itself, measured as a comparison does."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import median

from servegate.errors import ServegateError, SetupError
from servegate.judging.figures.kinds import IN_TURNS
from servegate.judging.pairs import PairFigure
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import PairPlan
from servegate.measure.side_by_side import join_plans, plan_group, share_processes
from servegate.records import Cell, Sample
from servegate.setup.collected import Collected
from servegate.setup.resolution import GroupPairs
from servegate.storage.arms import open_twins
from servegate.storage.carried import advise_to_carry

_LEAST_PAIRS, _MOST_PAIRS = 3, 8
_ENOUGH_S = 60.0


def measure_identical(
    collected: Collected, watch: Callable[[], AbstractContextManager[None]], tell: Callable[[str], None]
) -> list[GroupPairs]:
    """Measure three pairs, and up to eight while a minute isn't over.

    Parameters
    ----------
    watch:
        As in `FreshPairs`.
    tell:
        Takes a line for the user.

    Raises
    ------
    SetupError
        When an answer was wrong under load.
    ServegateError
        When the processes don't start; where they miss a file, the message names `perf_carry`.
    """
    settings = collected.settings
    policy = settings.judging.figure_policy
    figures: dict[str, list[list[PairFigure]]] = {target.name: [] for target, _ in collected.targets}
    in_turns = {
        target.name: [cell for kind in IN_TURNS.intersection(target.figures) for cell in policy.cells_of(kind, cells)]
        for target, cells in collected.targets
    }
    overhead_s: list[float] = []
    turns_s: list[float] = []
    start_s = time.monotonic()
    with open_twins(settings.root, carried=settings.project.carried) as arms:
        engine = settings.measuring.engine.builtin
        pairs = FreshPairs(arms.base, arms.head, settings.judging.schedule, watch=watch, engine=engine)
        number = 0
        while number < _LEAST_PAIRS or (number < _MOST_PAIRS and time.monotonic() - start_s < _ENOUGH_S):
            number += 1
            overhead_s.append(0.0)
            turns_s.append(0.0)
            for target, groups in share_processes([*collected.targets, *collected.at_given_rate]):
                tell(f"{', '.join(groups)}: pair {number} of identical code …")
                plans = [
                    PairPlan((), cells)
                    if name not in figures
                    else plan_group(cells, cells, in_turns[name], (), is_early=True)
                    for name, cells in groups.items()
                ]
                pair_start_s = time.monotonic()
                try:
                    measured = pairs.measure(target, join_plans(filter(None, plans)))
                except ServegateError as error:
                    raise advise_to_carry(error) from None
                _require_right(measured.samples)
                in_bursts = {
                    cell: replace(figure, seconds=figure.seconds - measured.turns_s[cell])
                    for cell, figure in measured.figures.items()
                }
                for name in figures.keys() & groups.keys():
                    figures[name].append([in_bursts[cell] for cell in groups[name]])
                of_turns_s = sum(measured.turns_s.values())
                of_bursts_s = sum(figure.seconds for figure in in_bursts.values())
                turns_s[-1] += of_turns_s
                overhead_s[-1] += time.monotonic() - pair_start_s - of_turns_s - of_bursts_s
    # The median: the first pair also measures the rate at which the later ones load the service.
    shares_s = (max(0.0, median(overhead_s)) / len(figures), median(turns_s) / len(figures))
    return [GroupPairs(cells, figures[target.name], *shares_s) for target, cells in collected.targets]


def _require_right(samples: Mapping[Cell, tuple[Sample, Sample]]) -> None:
    for cell, pair in samples.items():
        wrong = [failure for sample in pair for failure in sample.failures]
        if wrong:
            raise SetupError(f"under the load of {cell} an answer was wrong: {wrong[0]}")

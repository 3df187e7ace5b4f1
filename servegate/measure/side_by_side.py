"""Two checkouts side by side, pair by pair of fresh processes, until a judge has seen enough."""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from servegate.errors import ServegateError
from servegate.judging.arms import PairReport
from servegate.judging.cell_result import Comparison
from servegate.judging.comparison import ComparisonJudge
from servegate.judging.figures.judge import FigureJudge
from servegate.judging.figures.kinds import COST, GROWTH, IN_TURNS, LATENESS, OF_STREAMS, FigureKind
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.figures.result import FigureResult
from servegate.judging.given_rate import CellAtGivenRate, GivenRateJudge
from servegate.judging.group_result import GroupResult
from servegate.judging.policy import Policy
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import PairPlan
from servegate.measure.process_by_process import describe_duration
from servegate.measure.targets import Comparable, Launchable
from servegate.records import Cell


@dataclass(frozen=True)
class Compared:
    """The outcome of a comparison.

    Attributes
    ----------
    cells, groups:
        The verdicts on cells and on groups.
    errors:
        The reason why a group couldn't be measured, by group; its cells have no verdict then.
    reports:
        The report of what the arms ran, for each pair of each group.
    figures:
        The verdicts on what throughput doesn't show.
    at_given_rate:
        The outcome for each cell whose load sets the rate.
    is_out_of_time:
        Whether the time budget ended the comparison, which would have gone on.
    """

    cells: Mapping[Cell, Comparison]
    groups: Sequence[GroupResult]
    errors: Mapping[str, ServegateError]
    reports: Sequence[PairReport] = ()
    figures: Sequence[FigureResult] = ()
    at_given_rate: Mapping[Cell, CellAtGivenRate] = field(default_factory=dict)
    is_out_of_time: bool = False


@dataclass(frozen=True)
class SideBySide:
    """Compares two checkouts by pairs of fresh processes.

    Attributes
    ----------
    clock_s:
        The seconds that the time budget is counted in.
    """

    pairs: FreshPairs
    clock_s: Callable[[], float] = time.monotonic

    def compare(
        self,
        targets: Sequence[tuple[Comparable, Sequence[Cell]]],
        policy: Policy,
        figure_policy: FigurePolicy,
        budget_s: float,
    ) -> Compared:
        """Compare the cells of several targets pair by pair, until all are decided or no time is left.

        All targets are measured within each pair, since each learns from the others how far fresh processes differ.
        Targets of one service share its processes.
        A cell that is decided at a look is not measured again, unless a figure of its group lies beyond its margin.

        Parameters
        ----------
        targets:
            Each with its cells; a target's cells are one group.
        figure_policy:
            The policy for what throughput doesn't show.
        budget_s:
            Seconds after which no further pair begins; without any left nothing is measured.
        """
        by_throughput = [cell for target, cells in targets if not target.rate_is_given for cell in cells]
        judge = ComparisonJudge(policy, by_throughput)
        figures = FigureJudge(figure_policy, {cells[0].group: (target.figures, cells) for target, cells in targets})
        shared = share_processes(targets)
        at_given_rate = GivenRateJudge(
            {
                cell: cell in figure_policy.cells_of(LATENESS, cells)
                for target, cells in targets
                if target.rate_is_given
                for cell in cells
            },
            figure_policy.first_pairs,
            policy.client_ceiling_cores,
        )
        errors: dict[str, ServegateError] = {}
        reports: list[PairReport] = []
        most_pairs, is_out_of_time = max(policy.looks[-1], figure_policy.looks[-1]), False
        start_s = self.clock_s()
        for pair in itertools.count(1):
            pair_start_s = self.clock_s()
            if pair_start_s >= start_s + budget_s:
                is_out_of_time = True
                break
            here = _describe_pair(policy, pair, pair_start_s - start_s)
            for target, groups in shared:
                is_early = pair <= figure_policy.first_pairs
                plans = _plan_groups(judge, figures, at_given_rate, groups, is_early=is_early)
                if not plans:
                    continue
                try:
                    measured = self.pairs.measure(target, join_plans(plans.values()), f"{here}: {', '.join(plans)}")
                    reports.append(measured.report)
                    judge.add(measured.figures, fallback=measured.report.fallback)
                    at_given_rate.add(measured.samples, measured.report.fallback)
                    for group in plans:
                        judge.check(groups[group], measured.samples, measured.report.fallback)
                        # A process that runs otherwise than intended has figures of something else.
                        if measured.report.fallback is None and at_given_rate.is_open(groups[group]):
                            figures.add(group, measured.processes, measured.samples)
                        else:
                            figures.end(group)
                except ServegateError as error:
                    # Groups that share the processes and are decided keep their verdicts.
                    for group in plans:
                        errors[group] = error
                        judge.drop(group)
                        figures.drop(group)
                        at_given_rate.drop(group)
            now_s = self.clock_s()
            is_late = now_s + (now_s - pair_start_s) > start_s + budget_s
            last = is_late or pair == policy.looks[-1]
            if pair in policy.looks or (last and pair < policy.looks[-1]):
                judge.look(last=last)
                for _, groups in shared:
                    slower = [name for name in groups if judge.is_slower(name)]
                    accused = [name for name in slower if name not in figure_policy.allowed_groups]
                    for group, kind in itertools.product(accused, (COST, *OF_STREAMS)):
                        figures.leave_to_throughput(group, kind)
                    # A slower service is also later, in the groups that its processes are loaded for at a given rate.
                    for group in groups if accused else ():
                        figures.leave_to_throughput(group, LATENESS)
            is_unfinished = figures.is_any_open or at_given_rate.is_first_due
            is_out_of_time = is_late and (is_unfinished or (pair < policy.looks[-1] and judge.is_any_open))
            if last:
                judge.close()
            if is_late or pair >= most_pairs or not (judge.is_any_open or is_unfinished):
                break
        compared = {cell: found for cell, found in judge.compared_cells().items() if cell.group not in errors}
        given = {cell: found for cell, found in at_given_rate.results().items() if cell.group not in errors}
        return Compared(compared, judge.compared_groups(), errors, reports, figures.results(), given, is_out_of_time)


def share_processes(
    targets: Sequence[tuple[Launchable, Sequence[Cell]]],
) -> list[tuple[Launchable, dict[str, Sequence[Cell]]]]:
    """Put the targets together that the same processes can be measured for; each with the cells of its groups."""
    shared: list[tuple[Launchable, dict[str, Sequence[Cell]]]] = []
    for target, cells in targets:
        group = {cells[0].group: cells}
        for place, (other, groups) in enumerate(shared):
            together = other.share(target)
            if together is not None:
                shared[place] = together, groups | group
                break
        else:
            shared.append((target, group))
    return shared


def _plan_groups(
    judge: ComparisonJudge,
    figures: FigureJudge,
    at_given_rate: GivenRateJudge,
    groups: Mapping[str, Sequence[Cell]],
    *,
    is_early: bool,
) -> dict[str, PairPlan]:
    """The plans of the groups that need the next pair."""
    plans = {}
    for group, cells in groups.items():
        suspected = figures.open_kinds(group)
        at_random = figures.cells_judged_for(LATENESS, group)
        if at_random:
            plan = PairPlan((), at_random) if at_given_rate.is_open(cells) and (is_early or suspected) else None
        else:
            in_turns = [cell for kind in IN_TURNS for cell in figures.cells_judged_for(kind, group)]
            plan = plan_group(cells, judge.open_cells(group), in_turns, suspected, is_early=is_early)
        if plan is not None:
            plans[group] = plan
    return plans


def join_plans(plans: Iterable[PairPlan]) -> PairPlan:
    """One plan for the groups that share processes."""
    joined = PairPlan((), ())
    for plan in plans:
        joined = PairPlan([*joined.bursts, *plan.bursts], [*joined.turns, *plan.turns])
    return joined


def plan_group(
    cells: Sequence[Cell],
    open_cells: Sequence[Cell],
    in_turns: Collection[Cell],
    suspected: Collection[FigureKind],
    *,
    is_early: bool,
) -> PairPlan | None:
    """Plan the load of a group's next pair; None if the group needs no further pair.

    Parameters
    ----------
    cells:
        All cells of the group.
    open_cells:
        The cells whose throughput isn't decided.
    in_turns:
        The cells that have a figure which is measured in turns.
    suspected:
        The figures that lie beyond their margin. Cost and growth are computed over all cells.
    is_early:
        Whether the pair is one of the first, which take turns in any case; later only a suspected figure needs them.
    """
    if not open_cells and not suspected:
        return None
    due = open_cells if is_early else () if IN_TURNS.isdisjoint(suspected) else in_turns
    turns = [cell for cell in cells if cell in due and cell in in_turns]
    if not {COST, GROWTH}.isdisjoint(suspected):
        return PairPlan(cells, turns)
    return PairPlan(open_cells, turns)


def _describe_pair(policy: Policy, pair: int, elapsed_s: float) -> str:
    """Write the pair's number and, from the second pair on, the time until the next look."""
    look = next((look for look in policy.looks if look >= pair), pair)
    here = f"side by side, pair {pair} of {look}"
    if look < policy.looks[-1]:
        here += f" (at most {policy.looks[-1]})"
    if pair > 1:
        here += f", {describe_duration(elapsed_s / (pair - 1) * (look - pair + 1))} to the next verdicts"
    return here

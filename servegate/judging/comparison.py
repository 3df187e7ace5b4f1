"""The judge of a comparison side by side: pairs of fresh processes come in, verdicts of groups and cells come out."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from servegate.judging.absolute.validity import why_unjudged, why_wrong
from servegate.judging.cell_result import Comparison
from servegate.judging.decisions import Decision, explain, with_group
from servegate.judging.estimators import Floats, MeanDifference, geometric_mean
from servegate.judging.group_result import GroupResult
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.judging.sequential import Judged, SequentialTest, pool_cells
from servegate.judging.stages import compare_stages, describe_stages
from servegate.records import Cell, Change, Sample, Status, Verdict

OUT_OF_TIME = Verdict(Status.INCONCLUSIVE, "the run's time budget had ended before this could be compared")


class ComparisonJudge:
    """Judges cells by their groups first, at the looks that the policy declares.

    Parameters
    ----------
    cells:
        All cells that are compared, of every group.
    """

    def __init__(self, policy: Policy, cells: Sequence[Cell]) -> None:
        self._policy = policy
        self._test = SequentialTest(policy, cells)
        self._pairs: dict[Cell, list[PairFigure]] = {cell: [] for cell in cells}
        # Cells without a figure that could be judged, and why.
        self._unjudged: dict[Cell, Verdict] = {}
        # Cells that were found to be slower, and what a later pair showed to be wrong.
        self._wrong_later: dict[Cell, Verdict] = {}
        self._is_closed = False

    def open_cells(self, group: str) -> list[Cell]:
        """The group's cells that the next pair must measure."""
        if self._is_closed:
            return []
        measured = zip(self._test.cells, self._test.measured, strict=True)
        return [cell for cell, is_measured in measured if is_measured and cell.group == group]

    @property
    def is_any_open(self) -> bool:
        """Whether another pair would measure something."""
        return not self._is_closed and bool(self._test.measured.any())

    def is_slower(self, group: str) -> bool:
        """Whether the group is decided to be slower; one that has no throughput to judge never is."""
        decisions = zip(self._test.group_names, self._test.of_groups.decision, strict=True)
        return any(name == group and decision == Decision.REGRESSED for name, decision in decisions)

    def add(self, pair: Mapping[Cell, PairFigure], fallback: str | None = None) -> None:
        """Take the figures of one pair of fresh processes. A cell that can't be judged is left out from now on.

        Parameters
        ----------
        fallback:
            Why a process ran otherwise than it intended, which makes its cells INVALID; None if none did.
        """
        for cell, figure in pair.items():
            wrong = _why_wrong((figure.base, figure.head), fallback)
            if wrong is not None and self._is_accused(cell):
                self._reject(cell, wrong)
                continue
            self._pairs[cell].append(figure)
            base, head = ([getattr(pair, arm) for pair in self._pairs[cell]] for arm in ("base", "head"))
            unjudged = wrong if fallback else why_unjudged(base, head, self._policy.client_ceiling_cores)
            if unjudged is not None:
                self._reject(cell, unjudged)

    def check(
        self, cells: Iterable[Cell], samples: Mapping[Cell, tuple[Sample, Sample]], fallback: str | None = None
    ) -> None:
        """Leave out each cell that this pair shows to be wrong, though the pair did not measure its throughput.

        Parameters
        ----------
        samples:
            The samples of both arms, for each cell that the pair loaded.
        fallback:
            As in `add`.
        """
        for cell in [cell for cell in cells if cell in self._pairs and cell not in self._unjudged]:
            wrong = _why_wrong(samples.get(cell), fallback)
            if wrong is not None:
                self._reject(cell, wrong)

    def _is_accused(self, cell: Cell) -> bool:
        """Whether the cell or its group was found to be slower."""
        test = self._test
        decision, of_group = test.of_cells.decision[test.cells.index(cell)], self.is_slower(cell.group)
        return bool(decision == Decision.REGRESSED) or (of_group and bool(decision != Decision.LEFT_OUT))

    def drop(self, group: str) -> None:
        """Measure a group no more that can't be measured; what was found out about it doesn't count."""
        for cell in self._test.cells:
            if cell.group == group:
                self._leave_out(cell, Verdict(Status.INVALID, "its group could not be measured"))

    def _reject(self, cell: Cell, verdict: Verdict) -> None:
        """Judge a cell no more. If it was found to be slower it stays so, and its evidence tells the new verdict."""
        if cell in self._wrong_later:
            return
        if not self._is_accused(cell):
            self._leave_out(cell, verdict)
            return
        self._wrong_later[cell] = verdict
        if not self.is_slower(cell.group):  # else the cell has its group's verdict
            self._leave_out(cell, self._judge_cell(cell))

    def _leave_out(self, cell: Cell, verdict: Verdict) -> None:
        self._unjudged[cell] = verdict
        self._test.leave_out(cell)

    def look(self, *, last: bool) -> None:
        """Judge what is open by all pairs so far; before the first look's number of pairs nothing can be judged."""
        pairs = max((len(figures) for figures in self._pairs.values()), default=0)
        if pairs >= self._policy.looks[0]:
            self._test.look(*self._arrays(), last=last)

    def close(self) -> None:
        """Measure nothing more: what is open stays undecided."""
        self._is_closed = True

    def compared_cells(self) -> dict[Cell, Comparison]:
        """Each cell's verdict and pairs, in the order of the cells."""
        return {cell: Comparison(self._judge_cell(cell), tuple(pairs)) for cell, pairs in self._pairs.items()}

    def compared_groups(self) -> tuple[GroupResult, ...]:
        """The groups that could be judged."""
        judged = self._test.of_groups
        return tuple(
            self._judge_group(place, name)
            for place, name in enumerate(self._test.group_names)
            if judged.pairs[place] and judged.decision[place] != Decision.LEFT_OUT
        )

    def _arrays(self) -> tuple[Floats, Floats]:
        """Log ratios and variances of shape (pairs, cells), NaN where a cell wasn't measured."""
        shape = (max(map(len, self._pairs.values())), len(self._pairs))
        log_ratios, variances = np.full(shape, np.nan), np.full(shape, np.nan)
        for place, (cell, figures) in enumerate(self._pairs.items()):
            if cell not in self._unjudged:
                log_ratios[: len(figures), place] = [figure.log_ratio for figure in figures]
                variances[: len(figures), place] = [figure.variance for figure in figures]
        return log_ratios, variances

    def _judge_group(self, place: int, name: str) -> GroupResult:
        judged, limits = self._test.of_groups, self._policy.of_group(name)
        decision = Decision(judged.decision[place])
        chosen = [cell.group == name and cell not in self._unjudged for cell in self._test.cells]
        pairs = int(judged.pairs[place])
        log_ratios, variances = (values[:pairs, chosen] for values in self._arrays())
        means, _ = pool_cells(log_ratios, variances, np.full(sum(chosen), fill_value=True))
        change, excluded = judged.change.at(place), float(judged.excluded()[place])
        return GroupResult(
            name,
            Verdict(
                decision.status,
                f"throughput of its cells together {change.as_change().estimate:+.1%} side by side; "
                + explain(decision, limits, excluded),
                change=change.as_change(),
                evidence=(
                    _describe_pairs(means[:, 0].tolist()),
                    *_describe_test(change, judged, place, self._policy),
                ),
            ),
            margin=self._policy.margin_of(name),
            excludes=limits.excluded,
            cells=tuple(cell for cell, is_chosen in zip(self._test.cells, chosen, strict=True) if is_chosen),
            pairs=pairs,
            pair_spread=float(np.std(means, ddof=1)),
            excluded=excluded,
        )

    def _judge_cell(self, cell: Cell) -> Verdict:
        pairs, judged, place = self._pairs[cell], self._test.of_cells, self._test.cells.index(cell)
        if cell in self._unjudged:
            return self._unjudged[cell]
        if not judged.pairs[place]:
            first = self._policy.looks[0]
            too_few = f"the time budget ended after {len(pairs)} of the {first} pairs that a first look needs"
            return Verdict(Status.INCONCLUSIVE, too_few) if pairs else OUT_OF_TIME
        change, limits = judged.change.at(place), self._policy.of_cell(cell)
        decision, excluded = Decision(judged.decision[place]), float(judged.excluded()[place])
        group = self._test.group_names.index(cell.group)
        status, is_by_group = with_group(decision, Decision(self._test.of_groups.decision[group]))
        why = f"{cell.group} is {status} as a whole" if is_by_group else explain(decision, limits, excluded)
        stages = compare_stages([pair.parts for pair in pairs])
        later = self._wrong_later.get(cell)
        return Verdict(
            status,
            f"throughput {change.as_change()} side by side; {why}",
            now_per_s=geometric_mean([pair.head.mean_throughput_per_s for pair in pairs]),
            baseline_per_s=geometric_mean([pair.base.mean_throughput_per_s for pair in pairs]),
            change=change.as_change(),
            evidence=(
                _describe_pairs([pair.log_ratio for pair in pairs]),
                _describe_pairs([pair.robust_log_ratio for pair in pairs], "robust "),
                *_describe_test(change, judged, place, self._policy),
                *([f"stages   {describe_stages(stages, self._policy.margin)}"] if stages else ()),
                *([f"later    {later.status}: {later.reason}"] if later else ()),
            ),
        )


def _why_wrong(samples: tuple[Sample, Sample] | None, fallback: str | None) -> Verdict | None:
    if fallback:
        return Verdict(Status.INVALID, fallback)
    return None if samples is None else why_wrong(*samples)


def _describe_pairs(log_ratios: Sequence[float], name: str = "pairs  ") -> str:
    return f"{name}  {' '.join(f'{math.expm1(value):+.1%}' for value in log_ratios)}"


def _describe_test(change: MeanDifference, judged: Judged, place: int, policy: Policy) -> tuple[str, str]:
    pairs, share = int(judged.pairs[place]), float(judged.share[place])
    spread = float(change.standard_error) * math.sqrt(pairs)
    interval: Change = change.as_change()
    return (
        f"change   {interval} (95 % interval); pairs differ by {spread:.1%} (standard deviation)",
        f"p of a drop this large without a change {float(change.p_lower()):.2g}; accused below "
        f"{judged.error_level * share:.2g} ({judged.error_level:.2g} in all, {share:.0%} of it at the look after "
        f"{pairs} pairs; looks at {', '.join(map(str, policy.looks))})",
    )

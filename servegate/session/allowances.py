"""Allowances of commits' messages and the command line: a change for the worse that one covers becomes ALLOWED."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from servegate.errors import CheckoutError
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import COST, OF_STREAMS
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.options.allowance import Allowance, find_in_messages, parse_allowances
from servegate.options.settings import Settings
from servegate.records import Status, Verdict
from servegate.storage.commits import read_messages


def find_allowances(settings: Settings, base: str | None) -> tuple[dict[str, Allowance], list[str]]:
    """The allowances by the group, cell or figure that they are for, and a line for the reader about each.

    Parameters
    ----------
    base:
        The commit that is compared with; the messages of the commits since then count. None where there is none.
    """
    found = {one.name: one for one in settings.judging.allowances}
    notes = [f"`{one.name}` may become worse by the command line: {one}" for one in found.values()]
    for text in find_in_messages(_read_messages(settings.root, base)):
        try:
            allowances = parse_allowances(text)
        except ValueError as error:
            notes.append(f"a commit's message has `Perf-allow: {text}`, which allows nothing: it {error}")
            continue
        for one in allowances:
            fault = one.find_fault(settings.cells)
            if fault is not None:
                notes.append(f"a commit's message allows nothing: `{one.name}` {fault}")
            elif one.name not in found:  # the command line and newer commits go first
                found[one.name] = one
                notes.append(f"`{one.name}` may become worse by a commit's message: {one}")
    return found, notes


def _read_messages(root: Path, base: str | None) -> str:
    try:
        return "" if base is None else read_messages(root, base)
    except CheckoutError:
        return ""  # the comparison itself reports that the base isn't here


def allow_slower(allowances: Mapping[str, Allowance], policy: FigurePolicy, groups: Collection[str]) -> FigurePolicy:
    """Allow a group that may lose a share of its throughput to cost as much more and to stream as late."""
    allowed = [allowances[group] for group in groups if group in allowances]
    margins = {
        f"{one.name}.{kind.name}": max(margin, 100 * one.limit / (100 - one.limit))
        for one in allowed
        for kind in (COST, *OF_STREAMS)
        if (margin := policy.margin_in_unit(kind, one.name)) is not None
    }
    return replace(
        policy,
        margins={**policy.margins, **margins},
        allowed_groups=frozenset(one.name for one in allowed),
    )


def allow_groups(allowances: Mapping[str, Allowance], groups: Iterable[GroupResult]) -> list[GroupResult]:
    """Allow each group that regressed by no more than its allowance says."""
    return [
        replace(group, verdict=_allow(allowances.get(group.name), group.verdict, _get_loss(group.verdict)))
        for group in groups
    ]


def allow_figures(allowances: Mapping[str, Allowance], figures: Iterable[FigureResult]) -> list[FigureResult]:
    """Allow each figure that grew by no more than its allowance says."""
    return [
        replace(
            result,
            verdict=_allow(
                allowances.get(f"{result.figure.group}.{result.figure.kind.name}"),
                result.verdict,
                None if result.change is None else result.change.estimate / result.figure.kind.scale,
            ),
        )
        for result in figures
    ]


def allow_cells(
    allowances: Mapping[str, Allowance], groups: Sequence[GroupResult], cells: Iterable[CellResult]
) -> list[CellResult]:
    """Allow each cell that regressed by no more than its own allowance says, or its group's.

    Parameters
    ----------
    groups:
        The groups after `allow_groups`. Where one is still REGRESSED, so are its cells without an allowance of their
        own. Else its allowance covers its cells, except one whose whole interval lies beyond it.
    """
    too_slow = {cell for group in groups if group.verdict.status is Status.REGRESSED for cell in group.cells}
    allowed = []
    for result in cells:
        own, of_group = allowances.get(result.cell.setting_name), allowances.get(result.cell.group)
        verdict = result.verdict
        if own is not None:
            verdict = _allow(own, verdict, _get_loss(verdict))
        elif result.cell not in too_slow:
            verdict = _allow(of_group, verdict, _get_certain_loss(verdict))
        allowed.append(replace(result, verdict=verdict))
    return allowed


def _allow(allowance: Allowance | None, verdict: Verdict, size: float | None) -> Verdict:
    """The verdict under an allowance, given the size of the change in the allowance's unit."""
    if allowance is None or verdict.status is not Status.REGRESSED or size is None:
        return verdict
    if size > allowance.limit:
        return replace(verdict, reason=f"{verdict.reason}; more than what is allowed, {allowance}")
    return Verdict(
        Status.ALLOWED,
        f"allowed {allowance}",
        verdict.now_per_s,
        verdict.baseline_per_s,
        verdict.change,
        (verdict.reason, *verdict.evidence),
    )


def _get_loss(verdict: Verdict) -> float | None:
    """The estimated loss of throughput, in percent."""
    return None if verdict.change is None else -100 * verdict.change.estimate


def _get_certain_loss(verdict: Verdict) -> float | None:
    """The least loss of throughput within its interval, in percent."""
    return None if verdict.change is None else -100 * verdict.change.high

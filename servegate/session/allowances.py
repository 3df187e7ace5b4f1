"""Slowdowns that a commit's message or the command line allows: they are shown as ALLOWED, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from servegate.errors import CheckoutError
from servegate.judging.cell_result import CellResult
from servegate.judging.group_result import GroupResult
from servegate.options.allowance import Allowance, find_in_messages, parse_allowances
from servegate.options.settings import Settings, name_groups_and_cells
from servegate.records import Cell, Status, Verdict
from servegate.storage.commits import read_messages


def find_allowances(settings: Settings, base: str | None) -> tuple[dict[str, Allowance], list[str]]:
    """The allowances by what they are for, and a line for the reader about each.

    Parameters
    ----------
    base:
        The commit that is compared with; the messages of the commits since then count. None where there is none.
    """
    known = name_groups_and_cells(settings.cells)
    found = {one.name: one for one in settings.judging.allowances}
    notes = [f"`{one.name}` may be slower by the command line: {one}" for one in found.values()]
    for text in find_in_messages(_read_messages(settings.root, base)):
        try:
            allowances = parse_allowances(text)
        except ValueError as error:
            notes.append(f"a commit's message has `Perf-allow: {text}`, which allows nothing: it {error}")
            continue
        for one in allowances:
            if one.name not in known:
                notes.append(f"a commit's message allows `{one.name}`, which is no group or cell of perf_cells")
            elif one.name not in found:  # the command line and newer commits go first
                found[one.name] = one
                notes.append(f"`{one.name}` may be slower by a commit's message: {one}")
    return found, notes


def _read_messages(root: Path, base: str | None) -> str:
    try:
        return "" if base is None else read_messages(root, base)
    except CheckoutError:
        return ""  # the base isn't here, which the comparison itself tells


def allow_groups(allowances: Mapping[str, Allowance], groups: Sequence[GroupResult]) -> list[GroupResult]:
    """Allow each group that regressed by no more than its allowance says."""
    return [replace(group, verdict=_allow(allowances.get(group.name), group.verdict)) for group in groups]


def allow_cells(
    allowances: Mapping[str, Allowance], groups: Sequence[GroupResult], cells: Sequence[CellResult]
) -> list[CellResult]:
    """Allow each cell that regressed by no more than its own allowance says, or that its group's verdict takes along.

    Parameters
    ----------
    groups:
        After `allow_groups`. A cell of a group that isn't allowed isn't, either; unless the data show that it lost more
        than its group may, one of an allowed group is.
    """
    too_slow = {cell for group in groups if group.verdict.status is Status.REGRESSED for cell in group.cells}
    allowed = []
    for result in cells:
        own, of_group = allowances.get(_name(result.cell)), allowances.get(result.cell.group)
        verdict = result.verdict
        if own is not None:
            verdict = _allow(own, verdict)
        elif result.cell not in too_slow:
            verdict = _allow(of_group, verdict, is_by_interval=True)
        allowed.append(replace(result, verdict=verdict))
    return allowed


def _allow(allowance: Allowance | None, verdict: Verdict, *, is_by_interval: bool = False) -> Verdict:
    if allowance is None or verdict.status is not Status.REGRESSED or verdict.change is None:
        return verdict
    change = verdict.change.high if is_by_interval else verdict.change.estimate
    if -change > allowance.limit:
        return replace(verdict, reason=f"{verdict.reason}; more than what is allowed, {allowance}")
    return Verdict(
        Status.ALLOWED,
        f"allowed {allowance}",
        verdict.now_per_s,
        verdict.baseline_per_s,
        verdict.change,
        (verdict.reason, *verdict.evidence),
    )


def _name(cell: Cell) -> str:
    return f"{cell.group}[{cell.value}]"

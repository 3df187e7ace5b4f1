"""Say which slowdowns the run rules out for its groups and cells."""

from collections.abc import Sequence

from servegate.findings.subjects import name_group
from servegate.findings.wording import enumerate_names, write_share
from servegate.judging.cell_result import CellResult
from servegate.judging.group_result import GroupResult
from servegate.records import Status

_NO_SLOWER = frozenset({Status.PASS, Status.IMPROVED, Status.INFORMS})


def describe_exclusions(
    groups: Sequence[GroupResult], cells: Sequence[CellResult], *, is_whole: bool, is_first: bool
) -> str:
    """Write "in `model` and `api` a slowdown of 3 % is excluded, in each cell one of 10 %"; empty where none is.

    Parameters
    ----------
    is_whole:
        Whether every group was measured: else nothing is said of each cell.
    is_first:
        Whether this is the run's finding: nothing changed.
    """
    named: dict[float, list[str]] = {}
    for group in groups:
        if group.verdict.status is Status.PASS:
            of_group = [result for result in cells if result.cell.group == group.name]
            named.setdefault(group.excludes, []).append(name_group(group, of_group))
    said = [(enumerate_names(names), slowdown) for slowdown, names in named.items()]
    # A claim about each cell is as weak as its weakest.
    of_cells = [result.excludes for result in cells if result.verdict.status is Status.PASS]
    known = [slowdown for slowdown in of_cells if slowdown is not None]
    if (
        is_whole
        and known
        and len(known) == len(of_cells)
        and all(result.verdict.status in _NO_SLOWER for result in cells)
    ):
        said.append(("each cell", max(known)))
    excluded = ", ".join(
        f"in {where} one of {write_share(slowdown)}"
        if place
        else f"in {where} a slowdown of {write_share(slowdown)} is excluded"
        for place, (where, slowdown) in enumerate(said)
    )
    if not is_first or not of_cells:
        return excluded
    return f"no change found: {excluded}" if excluded else "no change found"

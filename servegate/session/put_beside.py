"""Another commit of the project, put beside the working tree and compared with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from servegate.errors import NothingToCompareError
from servegate.judging.policy import Policy
from servegate.measure.side_by_side import Compared, SideBySide
from servegate.measure.targets import MeasurementTarget
from servegate.records import Cell
from servegate.session.settings import Settings
from servegate.storage.arms import open_arms
from servegate.storage.carried import advise_to_carry
from servegate.storage.commits import has_path, resolve_commit


def put_beside(
    settings: Settings,
    reference: str,
    cells: Sequence[tuple[MeasurementTarget, Sequence[Cell]]],
    policy: Policy,
    budget_s: float,
    progress: Callable[[str], None],
) -> Compared:
    """Compare cells with those of another commit.

    Parameters
    ----------
    reference:
        A branch, tag or commit: the base.
    cells:
        Of each target.
    budget_s:
        Seconds after which no further pair begins.

    Raises
    ------
    NothingToCompareError
        When the commit has no service or no performance tests.
    CheckoutError
        When there is no such commit, or its files or its environment can't be had.
    """
    project = settings.project
    _check_comparable(settings, reference)
    with open_arms(settings.root, reference, project.recipe, carried=project.carried, progress=progress) as arms:
        side_by_side = SideBySide(arms.base, arms.head, settings.judging.schedule, progress=progress)
        compared = side_by_side.compare(cells, policy, budget_s)
    return replace(compared, errors={group: advise_to_carry(error) for group, error in compared.errors.items()})


def _check_comparable(settings: Settings, reference: str) -> None:
    commit = resolve_commit(settings.root, reference)
    tests = [path.relative_to(settings.root) for path in settings.files.paths if path.is_relative_to(settings.root)]
    for what, paths in (("service", [Path(settings.project.service)]), ("performance tests", tests)):
        if paths and not any(has_path(settings.root, commit, path) for path in paths):
            named = " ".join(map(str, paths))
            raise NothingToCompareError(
                f"there is nothing to compare with: the commit {reference[:12]} has no {what} ({named})"
            )

"""Another commit of the project, put beside the working tree and compared with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from servegate.errors import NothingToCompareError
from servegate.judging.policy import Policy
from servegate.measure.side_by_side import Compared, SideBySide
from servegate.measure.targets import MeasurementTarget
from servegate.records import Cell, Checkout
from servegate.session.settings import Settings
from servegate.storage.commits import export_commit
from servegate.storage.environments import environment_python


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
    with export_commit(settings.root, reference) as folder:
        _check_comparable(settings, folder, reference)
        python = environment_python(settings.root, folder, project.lock, same=project.same_env)
        base, head = Checkout("base", folder, python), Checkout.working_tree(settings.root)
        side_by_side = SideBySide(base, head, settings.judging.schedule, progress=progress)
        return side_by_side.compare(cells, policy, budget_s)


def _check_comparable(settings: Settings, base: Path, reference: str) -> None:
    tests = [path.relative_to(settings.root) for path in settings.files.paths if path.is_relative_to(settings.root)]
    for what, paths in (("service", [Path(settings.project.service)]), ("performance tests", tests)):
        if paths and not any((base / path).exists() for path in paths):
            named = " ".join(map(str, paths))
            raise NothingToCompareError(
                f"there is nothing to compare with: the commit {reference[:12]} has no {what} ({named})"
            )

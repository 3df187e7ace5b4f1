"""Another commit of the project, put beside the working tree and compared with it."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from servegate.errors import NothingToCompareError
from servegate.judging.comparison import OUT_OF_TIME, ComparisonJudge
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.given_rate import CellAtGivenRate
from servegate.judging.policy import Policy
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.side_by_side import Compared, SideBySide
from servegate.measure.targets import MeasurementTarget
from servegate.options.settings import Settings
from servegate.records import Cell
from servegate.storage.arms import open_arms
from servegate.storage.carried import advise_to_carry
from servegate.storage.commits import has_path


def put_beside(
    settings: Settings,
    commit: str,
    cells: Sequence[tuple[MeasurementTarget, Sequence[Cell]]],
    policies: tuple[Policy, FigurePolicy],
    end_s: float,
    progress: Callable[[str], None],
    watch: Callable[[], AbstractContextManager[None]],
) -> Compared:
    """Compare cells with those of another commit.

    Parameters
    ----------
    commit:
        Full hash of the base.
    cells:
        The cells of each target.
    policies:
        The policies for throughput and for the figures beside it.
    end_s:
        On the monotonic clock: no pair begins after that.
    watch:
        Makes a context that each measurement of a cell runs in.

    Raises
    ------
    NothingToCompareError
        When the commit has no service or no performance tests.
    ReferenceCheckoutError
        When the commit's files or its environment can't be had.
    CheckoutError
        When the working tree can't be copied, or what `perf_carry` names isn't there.
    """
    if time.monotonic() >= end_s:
        judged, given = (
            [cell for target, of_target in cells if target.rate_is_given is is_given for cell in of_target]
            for is_given in (False, True)
        )
        unmeasured = ComparisonJudge(policies[0], judged).compared_cells()
        return Compared(
            unmeasured,
            (),
            {},
            at_given_rate=dict.fromkeys(given, CellAtGivenRate(OUT_OF_TIME, (), ())),
            is_out_of_time=True,
        )
    project = settings.project
    _check_comparable(settings, commit)
    with open_arms(settings.root, commit, project.recipe, carried=project.carried, progress=progress) as arms:
        engine = settings.measuring.engine.builtin
        pairs = FreshPairs(
            arms.base, arms.head, settings.judging.schedule, progress=progress, watch=watch, engine=engine
        )
        compared = SideBySide(pairs).compare(cells, *policies, end_s - time.monotonic())
    return replace(compared, errors={group: advise_to_carry(error) for group, error in compared.errors.items()})


def _check_comparable(settings: Settings, commit: str) -> None:
    tests = [path.relative_to(settings.root) for path in settings.files.paths if path.is_relative_to(settings.root)]
    needed = (("service", "perf_service", [Path(settings.project.service)]), ("performance tests", "perf_paths", tests))
    for what, setting, paths in needed:
        if paths and not any(has_path(settings.root, commit, path) for path in paths):
            named = " ".join(map(str, paths))
            raise NothingToCompareError(
                f"there is nothing to compare with: the commit {commit[:12]} has no {what} ({setting} = {named})"
            )

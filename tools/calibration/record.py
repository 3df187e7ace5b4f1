"""Record pairs of fresh processes: identical code, and slowdowns of known place and size."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from perf_tests.targets import API, MODEL
from servegate.measure.fresh_pairs import FreshPairs, PairPlan, Schedule
from servegate.measure.targets import MeasurementTarget
from servegate.records import Cell, Checkout
from servegate.storage.arms import open_arms
from servegate.storage.environments import EnvironmentRecipe
from tools.calibration.pairs import CellPair, PairRecord
from tools.calibration.slowdowns import Slowdown

# A stage's share of a request differs; so does how much of it overlaps. What a slowdown costs a cell is measured.
KINDS: dict[str, Slowdown | None] = {
    "same": None,
    "predict+4%": Slowdown("predict", 0.04),
    "decode+25%": Slowdown("decode", 0.25),
}
TARGETS: dict[str, MeasurementTarget] = {target.name: target for target in (MODEL, API)}


@contextmanager
def export_arms(root: Path, slowdown: Slowdown | None) -> Iterator[tuple[Checkout, Checkout]]:
    """Base and head as a run of the gate makes them: the last commit and the working tree; the head is slowed."""
    with open_arms(root, "HEAD", EnvironmentRecipe("", is_shared=True)) as arms:
        if slowdown is not None:
            slowdown.inject(arms.head.folder)
        yield arms.base, arms.head


def record_pair(
    root: Path,
    service_tree: str,
    kind: str,
    cells: Sequence[Cell],
    schedule: Schedule,
    progress: Callable[[str], None],
) -> PairRecord:
    """Start a base and a head in folders of their own and compare them once on every cell that the slowdown may reach.

    Raises
    ------
    ServegateError
        When one doesn't start, or measuring fails.
    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    slowdown = KINDS[kind]
    if slowdown is not None:
        cells = [cell for cell in cells if cell.group in slowdown.groups]
    with export_arms(root, slowdown) as (base, head):
        figures = {}
        fresh_pairs = FreshPairs(base, head, schedule, progress=lambda text: progress(f"{kind}: {text}"))
        for group in dict.fromkeys(cell.group for cell in cells):
            pair = fresh_pairs.measure(TARGETS[group], PairPlan([cell for cell in cells if cell.group == group], ()))
            figures.update({str(cell): CellPair.from_json(figure.to_json()) for cell, figure in pair.figures.items()})
    return PairRecord(kind, service_tree, began, schedule.burst_s, schedule.blocks, figures)

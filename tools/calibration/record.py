"""Record pairs of fresh processes: identical code, and slowdowns of known place and size."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from perf_tests.api_instrument import make_server
from perf_tests.conftest import MODEL_WORKER
from perf_tests.photos import cat_jpeg, cat_workload
from servegate.measure.servers import launch_server_arm
from servegate.measure.side_by_side import Schedule, measure_pair
from servegate.measure.targets import LaunchArm
from servegate.measure.workers import launch_worker
from servegate.records import Cell, Checkout
from servegate.storage.checkouts import export_commit
from tools.calibration.pairs import CellPair, PairRecord
from tools.calibration.slowdowns import Slowdown

# A stage's share of a request differs; so does how much of it overlaps. What a slowdown costs a cell is measured.
KINDS: dict[str, Slowdown | None] = {
    "same": None,
    **{
        f"{stage}+{percent}%": Slowdown(stage, percent / 100)
        for percent in (5, 10, 20)
        for stage in ("predict", "decode")
    },
}
LAUNCHERS: dict[str, LaunchArm] = {
    "model": partial(launch_worker, "model", MODEL_WORKER),
    "api": partial(launch_server_arm, make_server, cat_workload(cat_jpeg())),
}


@contextmanager
def export_arms(root: Path, slowdown: Slowdown | None) -> Iterator[tuple[Checkout, Checkout]]:
    """The last commit twice, as base and as head, in folders of their own; the head is slowed."""
    with ExitStack() as folders:
        base, head = (folders.enter_context(export_commit(root, "HEAD")) for _ in range(2))
        if slowdown is not None:
            slowdown.inject(head)
        yield Checkout("base", base, sys.executable), Checkout("head", head, sys.executable)


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
    order = random.Random()
    slowdown = KINDS[kind]
    if slowdown is not None:
        cells = [cell for cell in cells if cell.group in slowdown.groups]
    with export_arms(root, slowdown) as (base, head):
        figures = {}
        for group in dict.fromkeys(cell.group for cell in cells):
            pair = measure_pair(
                LAUNCHERS[group],
                base,
                head,
                [cell for cell in cells if cell.group == group],
                schedule,
                order,
                lambda text: progress(f"{kind}: {text}"),
            )
            figures.update({str(cell): CellPair.from_json(figure.to_json()) for cell, figure in pair.items()})
    return PairRecord(kind, service_tree, began, schedule.burst_s, schedule.blocks, figures)

"""Record pairs of fresh processes: identical code, and code with an injection."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from perf_tests.targets import API, LATENCY, MODEL, PHOTO
from servegate.judging.figures.kinds import IN_TURNS, LATENESS, GroupFigure
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.figures.values import read_value
from servegate.measure.bursts import SHORTEST_OPEN_TURN_S
from servegate.measure.fresh_pairs import FreshPairs, MeasuredPair
from servegate.measure.pair_plan import TURNS_AT_GIVEN_RATE, TURNS_OF_AN_ARM, PairPlan
from servegate.measure.side_by_side import share_processes
from servegate.measure.targets import MeasurementTarget
from servegate.options.settings import JudgingSettings
from servegate.records import Cell, Checkout
from servegate.storage.arms import open_arms
from servegate.storage.environments import EnvironmentRecipe
from tools.calibration.injections.faults import FAULTS
from tools.calibration.injections.injection import Injection
from tools.calibration.injections.slowdowns import Slowdown
from tools.calibration.pairs import CellPair, PairRecord

# A stage's share of a request differs; so does how much of it overlaps. What a slowdown costs a cell is measured.
KINDS: dict[str, Injection | None] = {
    "same": None,
    "predict+4%": Slowdown("predict", 0.04),
    "decode+25%": Slowdown("decode", 0.25),
    **FAULTS,
}
TARGETS: dict[str, MeasurementTarget] = {target.name: target for target in (MODEL, API, PHOTO, LATENCY)}


def is_current(kind: str, digest: str) -> bool:
    """Whether a record is of what is injected under its name today; those from before digests were noted count."""
    injected = KINDS.get(kind)
    return not digest or (injected is not None and injected.digest == digest)


@contextmanager
def export_arms(root: Path, injected: Injection | None) -> Iterator[tuple[Checkout, Checkout]]:
    """Base and head as a run of the gate makes them; the head gets what is injected."""
    with open_arms(root, "HEAD", EnvironmentRecipe("", is_shared=True)) as arms:
        if injected is not None:
            injected.inject(arms.head.folder)
        yield arms.base, arms.head


def record_pair(
    root: Path,
    service_tree: str,
    kind: str,
    cells: Sequence[Cell],
    judging: JudgingSettings,
    progress: Callable[[str], None],
) -> PairRecord:
    """Start a base and a head in folders of their own and compare them once on every cell that the injected may reach.

    Raises
    ------
    ServegateError
        When one doesn't start, or measuring fails.
    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    injected, schedule = KINDS[kind], judging.schedule
    if injected is not None:
        cells = [cell for cell in cells if cell.group in injected.groups]
    turns_s = seconds_of_turns(cells, judging)
    by_group = [
        (TARGETS[group], [cell for cell in cells if cell.group == group])
        for group in dict.fromkeys(cell.group for cell in cells)
    ]
    pairs: dict[str, CellPair] = {}
    figures: dict[str, tuple[float, float]] = {}
    with export_arms(root, injected) as (base, head):
        fresh_pairs = FreshPairs(base, head, schedule, progress=lambda text: progress(f"{kind}: {text}"))
        for target, groups in share_processes(by_group):
            loaded = [cell for of_group in groups.values() for cell in of_group]
            in_bursts = [cell for cell in loaded if not TARGETS[cell.group].rate_is_given]
            in_turns = [cell for cell in loaded if str(cell) in turns_s]
            measured = fresh_pairs.measure(target, PairPlan(in_bursts, in_turns))
            pairs |= {str(cell): CellPair.from_json(figure.to_json()) for cell, figure in measured.figures.items()}
            for group, of_group in groups.items():
                figures |= _read_figures(group, of_group, measured, judging.figure_policy)
    return PairRecord(
        kind,
        service_tree,
        began,
        schedule.burst_s,
        schedule.blocks,
        pairs,
        figures,
        turns_s,
        "" if injected is None else injected.digest,
    )


def seconds_of_turns(cells: Sequence[Cell], judging: JudgingSettings) -> dict[str, float]:
    """Seconds of both arms' turns in a pair, by the names of the cells that a run of the gate loads in turns."""
    turn_s, policy = judging.schedule.turn_s, judging.figure_policy
    seconds = {
        LATENESS: 2 * TURNS_AT_GIVEN_RATE * max(turn_s, SHORTEST_OPEN_TURN_S),
        **dict.fromkeys(IN_TURNS, 2 * TURNS_OF_AN_ARM * turn_s),
    }
    return {
        str(cell): seconds[kind]
        for cell in cells
        for kind in seconds
        if kind in TARGETS[cell.group].figures and policy.cells_of(kind, [cell])
    }


def _read_figures(
    group: str, cells: Sequence[Cell], measured: MeasuredPair, policy: FigurePolicy
) -> dict[str, tuple[float, float]]:
    values = {}
    for kind in TARGETS[group].figures:
        samples = [measured.samples[cell] for cell in policy.cells_of(kind, cells)]
        base, head = (
            read_value(kind, process, [pair[arm] for pair in samples]) for arm, process in enumerate(measured.processes)
        )
        if base is not None and head is not None:
            values[str(GroupFigure(group, kind))] = base, head
    return values

"""Is the stage that the gate names the one that got slower? Slowdowns of known place, each seen in three pairs.

What is recorded is one JSON object a line, beside the pairs, and grows in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servegate.judging.stages import PartsOfPair, compare_stages, describe_stages, stages_that_moved
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import PairPlan, Schedule
from servegate.records import Cell, StageTime
from tools.calibration.certificate.shares import interval_of
from tools.calibration.injections.slowdowns import Slowdown
from tools.calibration.lines import append_line, read_lines
from tools.calibration.record import TARGETS, export_arms

ATTRIBUTIONS = "attributions.jsonl"
KIND = "attribution"
_PAIRS = 3

# Decode and predict are slowed by a share of theirs. Batch and encode take next to none of a request's CPU time, which
# is 5 ms with AVX512-BF16. They are slowed by a time of their own: 10 to 20 % of a request, batch by that of four.
SLOWDOWNS: Sequence[Slowdown] = (
    *(Slowdown(stage, share=percent / 100) for percent in (10, 12, 15, 17, 20) for stage in ("decode", "predict")),
    *(
        Slowdown(stage, extra_ms=extra_ms * calls)
        for extra_ms in (0.5, 0.6, 0.75, 0.85, 1.0)
        for stage, calls in (("batch", 4), ("encode", 1))
    ),
)
_CELLS = (Cell("api", "concurrency", 8), Cell("api", "concurrency", 64))


@dataclass(frozen=True)
class Attribution:
    """One slowdown and what the gate made of it.

    Attributes
    ----------
    stage, share, extra_ms:
        The slowdown, see `Slowdown`.
    service_tree:
        git's hash of the service that was measured.
    began:
        UTC, ISO 8601.
    cell:
        That it was seen in.
    pairs:
        The times of a request's parts in base and head, pair by pair.
    """

    stage: str
    share: float
    extra_ms: float
    service_tree: str
    began: str
    cell: str
    pairs: tuple[PartsOfPair, ...]

    def is_right(self, margin: float) -> bool:
        """Whether the stage that the gate names first is the slowed one."""
        moved = stages_that_moved(compare_stages(self.pairs), margin)
        return bool(moved) and moved[0].name == self.stage

    def said(self, margin: float) -> str:
        """The gate's own line."""
        return describe_stages(compare_stages(self.pairs), margin)


def read_attributions(path: Path) -> list[Attribution]:
    """All that were recorded; see `read_lines`."""
    return [
        Attribution(**{**record, "pairs": tuple((_parts(base), _parts(head)) for base, head in record["pairs"])})
        for record in read_lines(path)
    ]


def _parts(document: Mapping[str, Mapping[str, Any]]) -> dict[str, StageTime]:
    return {name: StageTime(**figures) for name, figures in document.items()}


def append_attribution(path: Path, attribution: Attribution) -> None:
    """Add one, after it was measured as a whole."""
    append_line(path, asdict(attribution))


def certify_attributions(attributions: Sequence[Attribution], margin: float) -> dict[str, Any]:
    """Count how often the stage named first was the slowed one, by stage and in all; needs an attribution or more.

    Parameters
    ----------
    margin:
        The gate's.
    """
    stages = dict.fromkeys(attribution.stage for attribution in attributions)
    by_stage = {stage: [item.is_right(margin) for item in attributions if item.stage == stage] for stage in stages}
    return {
        "service_trees": sorted({attribution.service_tree for attribution in attributions}),
        "right": {
            stage: asdict(interval_of(sum(right), len(right)))
            for stage, right in {**by_stage, "all": [item.is_right(margin) for item in attributions]}.items()
        },
        "wrong": [
            f"{item.stage} +{item.share:.0%} +{item.extra_ms:g} ms in {item.cell}: {item.said(margin)}"
            for item in attributions
            if not item.is_right(margin)
        ],
    }


def record_attribution(
    root: Path, service_tree: str, number: int, schedule: Schedule, progress: Callable[[str], None]
) -> Attribution:
    """Inject one of the slowdowns and compare it with the code as it is, in one cell.

    Parameters
    ----------
    number:
        How many have been recorded: slowdowns and cells take turns.

    Raises
    ------
    ServegateError
        When a server doesn't start, or measuring fails.
    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    slowdown = SLOWDOWNS[number % len(SLOWDOWNS)]
    cell = _CELLS[number // 2 % len(_CELLS)]
    with export_arms(root, slowdown) as (base, head):
        fresh_pairs = FreshPairs(base, head, schedule, progress=lambda text: progress(f"{slowdown}: {text}"))
        plan = PairPlan(bursts=[cell], turns=())
        pairs = [fresh_pairs.measure(TARGETS[cell.group], plan).figures[cell] for _ in range(_PAIRS)]
    return Attribution(
        **asdict(slowdown),
        service_tree=service_tree,
        began=began,
        cell=str(cell),
        pairs=tuple(pair.parts for pair in pairs),
    )

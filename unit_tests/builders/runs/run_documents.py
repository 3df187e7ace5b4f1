"""A run's cells and its document, as the report gets them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from servegate.findings.sentence import describe_findings
from servegate.judging.cell_result import CellResult
from servegate.judging.comparison import ComparisonJudge
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.judging.screen import screen_group
from servegate.records import Cell, Fingerprint, GpuUse, StageTime, Status, Verdict
from servegate.report.results import RunFacts, results_document
from unit_tests.builders.runs.samples import make_sample, make_samples

STORED = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GPU = GpuUse(utilisation_percent=87.0, memory_bytes=2**30, power_w=50.0, energy_j=1.0)

STAGES = {"decode": StageTime(2.0, 1.9), "queue": StageTime(1.0, None), "predict": StageTime(5.0, 9.0)}
SLOWER_STAGES = {**STAGES, "decode": StageTime(2.5, 2.375)}


def screened(cell: Cell, per_s: float) -> CellResult:
    """A cell that the stored baseline judged."""
    samples = make_samples([per_s, per_s * 1.01])
    return CellResult(cell, "images", samples, screen_group(Policy(), {str(cell): STORED}, {cell: samples})[cell])


def compared(cell: Cell, log_ratio: float) -> CellResult:
    """A cell that was compared side by side in three pairs."""
    base, head = make_sample(100.0, gpu=GPU), make_sample(100.0 * (1 + log_ratio), client_cores=[0.3], gpu=GPU)
    base, head = replace(base, stages=STAGES), replace(head, stages=SLOWER_STAGES)
    judge = ComparisonJudge(Policy(looks=(3, 5)), [cell])
    for number in range(3):
        ratio = log_ratio + 0.001 * number
        judge.add({cell: PairFigure(ratio, (ratio - 0.005, ratio + 0.005), base, head, 1.0)})
    judge.look(last=True)
    comparison = judge.compared_cells()[cell]
    return CellResult(cell, "requests", [head] * 3, comparison.verdict, comparison.pairs, [base] * 3)


RESULTS = (
    screened(Cell("model", "batch", 1), 100.3),
    screened(Cell("model", "batch", 8), 100.2),
    compared(Cell("api", "concurrency", 1), -0.20),
    compared(Cell("api", "concurrency", 8), 0.001),
    CellResult(Cell("disk", "files", 64), "files", make_samples([120.0]), Verdict(Status.INFORMS, "it informs", 120.0)),
    CellResult(
        Cell("latency", "percent", 70),
        "requests",
        [make_sample(failures=["wrong: <b>dog</b>"])],
        Verdict(Status.INVALID, "1 answer was <wrong>\n--- its log ends with ---\n/home/somebody/secret"),
    ),
)


def document(results: Sequence[CellResult] = RESULTS, **facts: Any) -> dict[str, Any]:
    """That of a run with these cells, of nine selected."""
    groups, figures, errors = facts.pop("groups", ()), facts.pop("figures", ()), facts.pop("errors", {})
    known: dict[str, Any] = {
        "began": BEGAN,
        "ended": BEGAN + timedelta(minutes=7.5),
        "exit_status": 1,
        "arguments": ["perf_tests", "--benchmark-compare", "-k", "not <b>"],
        "commit": "fedcba9876543210",
        "is_changed": True,
        "compared_with": {
            "kind": "baseline",
            "reference": "0123456789abcdef",
            "commit": "0123456789abcdef",
            "subject": "The `accepted` <state>",
            "path": "b/baseline.json",
        },
        "rule": {"margin": 0.03, "error_level": 0.01, "looks": [3, 5], "strict": False},
        "fingerprint": Fingerprint("A CPU", 2, None, 0, {"torch": "2", "python": "3"}),
        "differences": [("python", "none", "3"), ("torch", "1", "2")],
        "selected": [*(result.cell for result in results), Cell("api", "concurrency", 64)],
        "failing": {Status.REGRESSED, Status.INVALID},
        **facts,
    }
    known.setdefault(
        "sentence",
        describe_findings(
            groups,
            results,
            figures,
            arms=known.get("arms", {}),
            failing=known["failing"],
            load=known.get("load"),
            errors=errors,
        ),
    )
    return results_document(RunFacts(**known), results, groups, figures, errors)


def figure_at(made: Any, place: str) -> float:
    """The figure that a page names, as in `cells.0.now_per_s`."""
    for key in place.split("."):
        made = made[int(key)] if key.isdigit() else made[key]
    return float(made)

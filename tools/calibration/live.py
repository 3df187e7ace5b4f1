"""Make whole, live runs of the gate: pytest in a clone of this repository, perhaps with an injection in the clone."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servegate.errors import MeasurementError
from servegate.options.settings import Settings
from servegate.records import Cell, Status
from servegate.storage.commits import identify
from tools.calibration.lines import append_line, read_lines
from tools.calibration.pairs import PAIRS, CellPair, PairRecord, append_pair, has_whole_groups
from tools.calibration.record import KINDS

RUNS = "runs.jsonl"
# The version of a line in the record. Raise it when the rule that judges runs changes: older lines are then left out.
# 1: the rule judged each cell by itself. 2: it judges groups first, and the record has the run's first sentence. A line
# without a schema has version 1.
SCHEMA = 2
_RESULTS = "perf-report/results.json"


@dataclass(frozen=True)
class RunRecord:
    """The record of one whole run.

    Attributes
    ----------
    kind, service_tree, began:
        As in `PairRecord`.
    minutes:
        The time that the run took.
    exit_status:
        The exit status of pytest with --perf-strict: 0 if the run passed, 1 if it failed.
    verdicts:
        The verdict of each cell, by the cell's name.
    sentence:
        The report's first sentence.
    figures:
        The verdict of each figure beside throughput, by the figure's name.
    digest:
        The digest of the injection; empty for identical code.
    looks:
        The looks of the run's rule; empty in older records.
    """

    kind: str
    service_tree: str
    began: str
    minutes: float
    exit_status: int
    verdicts: Mapping[str, str]
    sentence: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    looks: tuple[int, ...] = ()
    schema: int = SCHEMA

    @property
    def judged_cells(self) -> set[str]:
        """The cells that the run judged, without those that only inform."""
        return {cell for cell, verdict in self.verdicts.items() if verdict != Status.INFORMS}


def read_runs(path: Path) -> list[RunRecord]:
    """Read all recorded runs, as `read_lines` reads them."""
    return [
        RunRecord(**{"schema": 1, **record, "looks": tuple(record.get("looks", ()))}) for record in read_lines(path)
    ]


def usable_runs(path: Path, cells: Sequence[Cell]) -> list[RunRecord]:
    """Select the recorded runs of this schema that judged only these cells, and in each of their groups all of them."""
    return [run for run in read_runs(path) if run.schema == SCHEMA and has_whole_groups(run.judged_cells, cells)]


def record_run(
    folder: Path,
    root: Path,
    kind: str,
    settings: Settings,
    turns_s: Mapping[str, float],
    progress: Callable[[str], None],
) -> RunRecord:
    """Compare a clone with its own last commit side by side, as a user would, and record the run.

    The pairs up to the first look are recorded, too. Until then every pair measures every cell, so the choice of the
    recorded pairs doesn't depend on their results.

    Parameters
    ----------
    turns_s:
        Seconds of turns in a pair, by the names of the cells that take them.

    Raises
    ------
    MeasurementError
        If pytest ended without a verdict for every cell.
    """
    progress(f"{kind}: a whole run starts")
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="servegate-live-") as temporary:
        clone, report = Path(temporary) / "clone", Path(temporary) / "benchmark.json"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        injected = KINDS[kind]
        if injected is not None:
            injected.inject(clone)
        start_s = time.monotonic()
        command = [sys.executable, "-m", "pytest", "perf_tests", "--perf-versus", "HEAD", "--perf-strict"]
        result = subprocess.run(
            [*command, f"--benchmark-json={report}"], cwd=clone, capture_output=True, text=True, check=False
        )
        minutes = (time.monotonic() - start_s) / 60
        if result.returncode not in (0, 1) or not report.exists():
            raise MeasurementError(f"the run ended with status {result.returncode}:\n{result.stdout[-3000:]}")
        _, _, shown = result.stdout.partition("collected ")
        progress("\n".join(line for line in shown.splitlines() if not line.startswith("  ")))
        figures = [benchmark["extra_info"] for benchmark in json.loads(report.read_text())["benchmarks"]]
        document: dict[str, Any] = json.loads((clone / _RESULTS).read_text())
    tree = identify(root, settings.project.service, settings.project.lock).service_tree
    verdicts = {figure["cell"]: figure["verdict"] for figure in figures}
    sentence = document.get("sentence", "")
    beside = {figure["figure"]: figure["status"] for figure in document["figures"]}
    digest = "" if injected is None else injected.digest
    record = RunRecord(
        kind,
        tree,
        began,
        round(minutes, 1),
        result.returncode,
        verdicts,
        sentence,
        beside,
        digest,
        tuple(document["rule"]["looks"]),
    )
    append_line(folder / RUNS, asdict(record))
    schedule = settings.judging.schedule
    values = first_values(document["figures"], settings.judging.looks[0])
    for number, cells in enumerate(first_pairs(figures, settings.judging.looks[0])):
        at_pair = {name: pairs[number] for name, pairs in values.items()}
        pair = PairRecord(kind, tree, began, schedule.burst_s, schedule.blocks, cells, at_pair, turns_s, digest)
        append_pair(folder / PAIRS, pair)
    progress(
        f"{kind}: exit status {record.exit_status} after {minutes:.1f} min, {record.verdicts}, {beside}; {sentence}"
    )
    return record


def first_pairs(figures: Sequence[dict[str, Any]], count: int) -> list[dict[str, CellPair]]:
    """Return the compared cells, pair by pair; no pair if a cell lacks a figure, for example after a wrong answer."""
    compared = {figure["cell"]: figure["pairs"][:count] for figure in figures if figure["pairs"]}
    if any(len(pairs) < count or any(pair["log_ratio"] is None for pair in pairs) for pairs in compared.values()):
        return []
    return [{cell: CellPair.from_json(pairs[number]) for cell, pairs in compared.items()} for number in range(count)]


def first_values(figures: Sequence[dict[str, Any]], count: int) -> dict[str, list[tuple[float, float]]]:
    """Return each figure's values of base and head in the first pairs, without a figure that some of them lack."""
    pairs = {
        figure["figure"]: list(zip(figure["base_processes"], figure["head_processes"], strict=True))[:count]
        for figure in figures
    }
    return {name: values for name, values in pairs.items() if len(values) == count}

"""Live whole runs of the gate: pytest in a clone of this repository, unchanged or with a slowdown in its files."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from perf_tests.calibration.lines import append_line, read_lines
from perf_tests.calibration.record import KINDS
from perfgate.checkout import identify
from perfgate.errors import MeasurementError


@dataclass(frozen=True)
class RunRecord:
    """One whole run.

    Attributes
    ----------
    kind:
        As of a recorded pair.
    exit_status:
        pytest's: 0 if the run passed under --perf-strict, 1 if it was red.
    verdicts:
        By the cell's name.
    """

    kind: str
    service_tree: str
    began: str
    minutes: float
    exit_status: int
    verdicts: Mapping[str, str]


def read_runs(path: Path) -> list[RunRecord]:
    """All recorded runs; see `read_lines`."""
    return [RunRecord(**record) for record in read_lines(path)]


def record_run(path: Path, root: Path, kind: str, progress: Callable[[str], None]) -> RunRecord:
    """Compare a clone with its own last commit, side by side, as a user would; the record is added to the file.

    Raises
    ------
    MeasurementError
        When pytest ended without a verdict for every cell.
    """
    progress(f"{kind}: a whole run starts")
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="perfgate-live-") as folder:
        clone, report = Path(folder) / "clone", Path(folder) / "benchmark.json"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        slowdown = KINDS[kind]
        if slowdown is not None:
            slowdown.put_into(clone)
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
    record = RunRecord(
        kind,
        identify(root, "service", "requirements.lock").service_tree,
        began,
        round(minutes, 1),
        result.returncode,
        {figure["cell"]: figure["verdict"] for figure in figures},
    )
    append_line(path, asdict(record))
    progress(f"{kind}: exit status {record.exit_status} after {minutes:.1f} min, {record.verdicts}")
    return record

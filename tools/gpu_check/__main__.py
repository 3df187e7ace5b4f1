"""Checks and measures the service on a machine with a GPU, in ten minutes: `make gpu-check`.

Each step runs in a process of its own, with a time limit of its own; one that fails or can't run costs no other. The
rows of all steps are printed, and written as JSON. It needs neither git nor OpenVINO nor a network. docs/gpu.md says
how to run it on a rented machine.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tools.gpu_check.steps import STEPS, CannotRunError, Row, Step

_ROOT = Path(__file__).parents[2]
_MODULE = "tools.gpu_check"


def run_step(step: Step) -> dict[str, object]:
    """Run a step in a process of its own, and report its outcome, its rows and the log of a failure."""
    start_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", _MODULE, "--here", step.name],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    is_late = False
    try:
        output, log = process.communicate(timeout=step.limit_s)
    except subprocess.TimeoutExpired:
        is_late = True
        _kill_group(process)
        output, log = process.communicate()
    finally:
        _kill_group(process)  # it may have left processes behind
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    cannot = [str(row["cannot run"]) for row in rows if "cannot run" in row]
    outcome = (
        f"ended after its limit of {step.limit_s:g} s" if is_late
        else f"could not run: {cannot[0]}" if cannot
        else "done" if process.returncode == 0
        else f"failed with status {process.returncode}"
    )  # fmt: skip
    return {
        "step": step.name,
        "outcome": outcome,
        "seconds": round(time.monotonic() - start_s, 1),
        "rows": [row for row in rows if "cannot run" not in row],
        "log": log if outcome != "done" else "",
    }


def _kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill a step with all that it has started; it leads a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def table(report: dict[str, object]) -> list[str]:
    """Write one step's report as lines for people."""
    lines = [f"{report['step']}: {report['outcome']}, {report['seconds']} s"]
    rows = report["rows"]
    assert isinstance(rows, list)
    lines += [f"  {', '.join(f'{name} {_text(value)}' for name, value in row.items())}" for row in rows]
    log = str(report["log"]).strip().splitlines()
    return [*lines, *(f"  | {line}" for line in log[-5:])]


def _text(value: object) -> str:
    """Write a value; the last line of several, which the JSON has whole."""
    lines = (f"{value:.3g}" if isinstance(value, float) else str(value)).strip().splitlines()
    return lines[-1] if lines else ""


def _run_here(step: Step) -> int:
    """Run a step in this process, and write its rows as lines of JSON. Returns the exit status."""

    def write(row: Row) -> None:
        print(json.dumps(row), flush=True)

    try:
        for row in step.rows():
            write(row)
    except CannotRunError as error:
        write({"cannot run": str(error)})
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run all steps, or those that are named. Returns 1 if one failed or was too slow."""
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    names = [step.name for step in STEPS]
    parser.add_argument("--only", choices=names, nargs="+", default=names, help="these steps alone")
    parser.add_argument("--output", type=Path, default=Path("gpu-check.json"), help="where JSON goes (%(default)s)")
    parser.add_argument("--here", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    by_name = {step.name: step for step in STEPS}
    if options.here:
        return _run_here(by_name[options.here])
    reports = []
    for step in STEPS:
        if step.name in options.only:
            print(f"{step.name} ({step.shows}) …", file=sys.stderr)
            reports.append(run_step(step))
            print("\n".join(table(reports[-1])), flush=True)
            options.output.write_text(json.dumps(reports, indent=1))
    print(f"written to {options.output}")
    return int(any(str(report["outcome"]).startswith(("failed", "ended")) for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

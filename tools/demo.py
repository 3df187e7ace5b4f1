"""Show what the gate says of a slow commit: `make demo`, in less than two minutes on two cores.

In a clone of this repository, in a temporary folder, a commit makes one stage of the service slower by a known size.
The gate compares that commit with the one before it, in one cell with short settings. Status 0 if it finds it.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from servegate.processes.guard import guard
from servegate.records import Status
from servegate.report.folder import RESULTS
from tools.calibration.injections.slowdowns import Slowdown

_ROOT = Path(__file__).parents[1]
# This repository's own service is slowed, not a smaller one of examples/: it tells its stages, so the gate can name the
# one that moved. The slowdown is so large that four pairs show it on a noisy machine, too.
_PLANTED = Slowdown("predict", share=1.0)
_TITLE = "Make predict take twice as long"
_GROUP = "api"
_GATE = (
    *("perf_tests/test_api_throughput.py", "--perf-versus=HEAD~1"),
    # One look after four pairs decides; two more pairs follow if it doesn't.
    *(f"--perf-cells={_GROUP}=8", "--perf-pairs=4 6"),
    # Each other figure would need turns of load, or more pairs.
    "--perf-figures=tail=off cost=off memory=off growth=off start=off",
    # The verdict's sentence and table, without pytest's own account of the failed test.
    *("-p", "no:cacheprovider", "--quiet", "--no-header", "--tb=no", "-rN"),
)
# Most of the demo's time goes into starting servers, and one with a single worker starts sooner.
_ENVIRONMENT = {"CLASSIFIER_WORKERS_PER_DEVICE": "1"}
_INTERRUPTED = 130


class DemoError(Exception):
    """The demo can't be shown; the message says why and what to do."""


def plant(root: Path, folder: Path) -> Path:
    """Clone the repository and commit the slowdown on top of its last commit.

    Parameters
    ----------
    root:
        The top folder of a git repository with this project.
    folder:
        An existing folder for the clone.

    Returns
    -------
    Path
        The clone.

    Raises
    ------
    DemoError
        When `root` is no top folder of a repository, or git fails.
    """
    try:
        below_top = _git(root, "rev-parse", "--show-prefix")
    except DemoError as error:
        raise DemoError(f"the demo clones the repository that it lies in: {error}") from None
    if below_top:
        raise DemoError(
            f"{root} is the folder {below_top} of another repository, so there is no commit of this project to compare "
            "with; clone this project by itself"
        )
    clone = folder / "clone"
    _git(folder, "clone", "--quiet", str(root), str(clone))
    _PLANTED.inject(clone)
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false")
    _git(clone, *identity, "commit", "--quiet", "--all", "--no-verify", "--message", _TITLE)
    return clone


def _git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise DemoError("there is no git on this machine; install it") from None
    if result.returncode != 0:
        raise DemoError(f"git {arguments[0]} failed in {folder}: {result.stderr.strip()}")
    return result.stdout.strip()


def run_gate(clone: Path, report: Path) -> dict[str, Any]:
    """Run the gate in the clone, with its output on this terminal.

    Parameters
    ----------
    report:
        The folder that its report is written to.

    Returns
    -------
    dict
        The document that the run wrote to `results.json`.

    Raises
    ------
    DemoError
        When pytest ended without a verdict.
    """
    results = report / RESULTS
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *_GATE, f"--perf-report={report.resolve()}"]
    environment = {**os.environ, **_ENVIRONMENT, **guard().environment}
    status = subprocess.run(command, cwd=clone, env=environment, check=False).returncode
    if not results.exists():
        raise DemoError(f"pytest ended with status {status} and without a report; its output above says why")
    document: dict[str, Any] = json.loads(results.read_text())
    return document


def judge(document: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the gate found the slowdown, and a sentence that says so.

    Parameters
    ----------
    document:
        The document that `docs/results-json.md` describes.
    """
    statuses = {group["group"]: group["status"] for group in document["groups"]}
    if statuses.get(_GROUP) == Status.REGRESSED:
        return True, "The gate found it: this failed run is what a slow commit gets."
    return False, (
        f"The gate didn't find it: its verdict is {document['verdict']}. The lines above say why; if other programs "
        "use this machine, end them and repeat."
    )


def show(report: Path) -> bool:
    """Plant the slowdown, run the gate and print what it says; whether it found the slowdown.

    Raises
    ------
    DemoError
        When the slowdown can't be planted, or the gate gives no verdict.
    """
    clone = plant(_ROOT, guard().folder)
    print(f"A clone in {clone} has a commit that slows the service: {_TITLE}.")
    print("The gate compares it with the commit before, without what isn't committed here.\n", flush=True)
    document = run_gate(clone, report)
    found, sentence = judge(document)
    print(f"\n{sentence}")
    return found


def main(arguments: Sequence[str]) -> int:
    """Show it; the process's exit status. The guard ends what runs and removes the clone, also after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--report", type=Path, default=_ROOT / "perf-report" / "demo", help="folder (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        return 0 if show(options.report) else 1
    except DemoError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; the clone and what ran in it are removed", file=sys.stderr)
        return _INTERRUPTED
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Kill runs of the suite at random moments: `make kills`, number configurable.

In a clone of this repository the suite measures the classifier or, most of the time, the example service, which is
faster to start. It stores a baseline or compares two commits, and is killed: pytest itself (SIGINT, SIGTERM, SIGKILL),
its server or its load client. Whatever is killed, no process and no temporary file stays, the stored baseline is whole,
the clone is as it was, and the next run works. Prints what was killed and what stayed; status 1 if anything did.
"""

import argparse
import getpass
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from servegate.errors import BaselineError
from servegate.storage.baselines import read_baseline

_ROOT = Path(__file__).parents[2]
_MARK = "KILLED_RUN"
_SHORT = (
    *("--perf-seconds=0.3", "--perf-warmup-seconds=0.2", "--perf-burst-seconds=0.1", "--perf-blocks=2"),
    *("--perf-pairs=2", "--perf-margin-percent=90", "--perf-cells=api=1", "--perf-report=", "-p", "no:cacheprovider"),
)
_PROJECTS = {
    "classifier": (".", "perf_tests/test_api_throughput.py"),
    "example": ("examples/text_scores", "perf_tests"),
}
_PURPOSES = {"accept": "--perf-accept", "compare": "--perf-versus=HEAD"}
_MODES = {(project, purpose): 4 if project == "example" else 1 for project in _PROJECTS for purpose in _PURPOSES}
_VICTIMS = {
    "pytest by SIGINT": ("", signal.SIGINT),
    "pytest by SIGTERM": ("", signal.SIGTERM),
    "pytest by SIGKILL": ("", signal.SIGKILL),
    "the server by SIGKILL": ("service.server", signal.SIGKILL),
    "the load client by SIGKILL": ("servegate.load.client", signal.SIGKILL),
}
# Its own temporary folders it keeps for three runs.
_OF_PYTEST = (f"pytest-of-{getpass.getuser()}",)
_NOBODY = "nobody, it was too late"
_END_DEADLINE_S = 180.0
_CLEAN_DEADLINE_S = 20.0


Mode = tuple[str, str]
"""A project and what a run of it is for."""


@dataclass
class Killing:
    """Runs in one clone, one after the other.

    Attributes
    ----------
    found:
        The faults, with the number of times that each was seen.
    accepted:
        Projects that have a baseline.
    """

    folder: Path
    clone: Path
    random: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)

    def baselines(self, project: str) -> Path:
        """The folder of the project's stored baseline."""
        return self.folder / "baselines" / project

    def start(self, mode: Mode) -> subprocess.Popen[bytes]:
        """A run of the suite; all its processes carry a mark."""
        project, purpose = mode
        folder, tests = _PROJECTS[project]
        options = [_PURPOSES[purpose], *_SHORT, f"--perf-baselines={self.baselines(project)}"]
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", tests, *options],
            cwd=self.clone / folder,
            env={**os.environ, _MARK: str(self.folder), "TMPDIR": str(temporary), "PYTHONPATH": str(self.clone)},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def whole(self, mode: Mode) -> float:
        """Make a run without a kill; return the seconds that it takes.

        Raises
        ------
        SystemExit
            When it doesn't end well.
        """
        start_s = time.monotonic()
        status = self.start(mode).wait(_END_DEADLINE_S)
        if status != 0:
            sys.exit(f"{_name(mode)}: a run that nobody killed ended with status {status}\n{self.log_tail()}")
        if mode[1] == "accept":
            self.accepted.add(mode[0])
        self.check(f"{_name(mode)}, not killed")
        return time.monotonic() - start_s

    def kill(self, mode: Mode, whole_s: float) -> float:
        """One run, killed at a random moment of the time that it would take; what it takes, better known."""
        victim = self.random.choice(list(_VICTIMS))
        part, number = _VICTIMS[victim]
        start_s, run = time.monotonic(), self.start(mode)
        time.sleep(self.random.uniform(0.1, whole_s))
        while not (targets := self._targets(run.pid, part)) and run.poll() is None:
            time.sleep(0.05)
        what = f"{_name(mode)}: {victim}"
        if run.poll() is None:
            os.kill(self.random.choice(targets), number)
        else:
            what = f"{_name(mode)}: {_NOBODY}"
        try:
            run.wait(_END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.found[f"{what}: the run did not end"] += 1
            run.kill()
        duration_s = time.monotonic() - start_s
        self.killed[f"{what} -> status {run.returncode}"] += 1
        print(f"{self.kills}: {what} -> status {run.returncode} after {duration_s:.1f} s", flush=True)
        self.check(what)
        # A machine that had something else to do at first has its runs end before they are killed.
        return duration_s if _NOBODY in what else whole_s

    @property
    def kills(self) -> int:
        """Runs in which something was killed."""
        return sum(count for what, count in self.killed.items() if _NOBODY not in what)

    def _targets(self, run: int, part: str) -> list[int]:
        return [pid for pid in self.marked() if part in _command(pid)] if part else [run]

    def marked(self) -> list[int]:
        """Processes of the run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue  # it has ended, or is somebody else's
        return found

    def check(self, what: str) -> None:
        """Note what a run that has ended has left."""
        end_s = time.monotonic() + _CLEAN_DEADLINE_S
        while (left := self._left()) and time.monotonic() < end_s:
            time.sleep(0.05)
        try:
            for project in self.accepted:
                [stored] = self.baselines(project).glob("*/*")
                read_baseline(self.baselines(project), stored.parent.name)
        except (BaselineError, ValueError) as error:
            left.append(f"a broken baseline: {error}")
        for thing in left:
            print(f"{what}: {thing}\n{self.log_tail()}", flush=True)
            self.found[f"{what}: {thing}"] += 1

    def _left(self) -> list[str]:
        left = [f"process {pid}: {_command(pid)}" for pid in self.marked()]
        left += [f"temporary file {path}" for path in (self.folder / "tmp").iterdir() if path.name not in _OF_PYTEST]
        status = subprocess.run(["git", "status", "--porcelain"], cwd=self.clone, capture_output=True, check=True)
        return left + [f"in the clone: {line}" for line in status.stdout.decode().splitlines()]

    def log_tail(self) -> str:
        """The end of what the last run printed."""
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-25:])


def _name(mode: Mode) -> str:
    return " ".join(mode)


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def main(arguments: Sequence[str]) -> int:
    """Run; the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stress.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--modes", nargs="+", choices=[_name(mode) for mode in _MODES], help="default: all")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(arguments)
    # A shell's background job ignores it from the start on, and so would the runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    weights = {mode: weight for mode, weight in _MODES.items() if _name(mode) in (options.modes or [_name(mode)])}
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", _ROOT, folder / "clone"], check=True)
        killing = Killing(folder, folder / "clone", random.Random(options.seed))
        whole_s = {mode: killing.whole(mode) for mode in weights}
        print(
            f"whole runs: {', '.join(f'{_name(mode)} {whole:.0f} s' for mode, whole in whole_s.items())}",
            flush=True,
        )
        while killing.kills < options.kills:
            [mode] = killing.random.choices(list(weights), list(weights.values()))
            whole_s[mode] = killing.kill(mode, whole_s[mode])
        for mode in weights:
            killing.whole(mode)
    for what, count in sorted(killing.killed.items()):
        print(f"  {count} x {what}")
    print(f"{killing.killed.total()} runs (seed {options.seed}): {killing.found.total()} things stayed")
    for what, count in killing.found.items():
        print(f"  {count} x {what}")
    return 1 if killing.found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

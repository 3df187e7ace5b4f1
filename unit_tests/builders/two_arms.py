"""Two checkouts of a tiny project whose model worker is a real process and says which checkout's code it runs."""

import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from servegate.judging.arms import PairReport
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import PairPlan, Schedule
from servegate.measure.workers import WorkerTarget
from servegate.records import Cell, Checkout

_WORKER = """\
import json
import sys

from service import model

if __name__ == "__main__":
    model.start()
    print(json.dumps({"ready": {"code": model.CODE}}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": [0.001] * json.loads(line)["rounds"]}), flush=True)
"""
_MODEL = """\
CODE = {name!r}


def start():
    pass
"""
MODULE = ("{python}", "-m", "service.worker")


class TwoArms:
    """The checkouts, and the environment that runs both.

    Parameters
    ----------
    source:
        The folder within each that holds the package `service`, as in `src`.
    """

    def __init__(self, root: Path, source: str = ".") -> None:
        self._source = source
        self.environment = root / "environment"
        self._arms: dict[str, Checkout] = {}
        for name in ("base", "head"):
            self._arms[name] = Checkout(name, root / name, sys.executable)
            self.write(name, "service/__init__.py", "")
            self.write(name, "service/worker.py", _WORKER)
            self.write(name, "service/model.py", _MODEL.format(name=name))

    def of_folder(self, project: str) -> "TwoArms":
        """The same arms, whose project is a folder of the repository."""
        self._arms = {
            name: replace(arm, folder=arm.folder / project, repository=arm.folder) for name, arm in self._arms.items()
        }
        return self

    def code(self, arm: str) -> Path:
        """The folder that holds an arm's package."""
        return self._arms[arm].folder / self._source

    def write(self, arm: str, path: str, text: str) -> None:
        """Write one of an arm's files; the path is relative to `code`."""
        file = self.code(arm) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def make_environment(self) -> Path:
        """Give both arms one virtual environment of their own; its folder of packages."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.environment], check=True)
        python = str(self.environment / "bin" / "python")
        self._arms = {name: Checkout(name, arm.folder, python) for name, arm in self._arms.items()}
        (packages,) = self.environment.glob("lib/python*/site-packages")
        return packages

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> PairReport:
        """Measure one short pair, and say what either arm ran."""
        schedule = Schedule(burst_s=0.001, blocks=1)
        fresh_pairs = FreshPairs(self._arms["base"], self._arms["head"], schedule, random.Random(0))
        target = WorkerTarget("model", command or MODULE, environment=environment or {})
        return fresh_pairs.measure(target, PairPlan([Cell("model", "batch", 1)], ())).report


def codes(report: PairReport) -> Sequence[str]:
    """Whose code base and head say that they run."""
    return [arm.details["model code"] for arm in (report.base, report.head)]

"""A tiny project with performance tests of two groups, in which pytester runs the gate as its users do."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from servegate.storage.baselines import Baseline, baseline_path, read_baseline
from servegate.telemetry.machine import read_fingerprint
from unit_tests.builders import scripted_instrument

CELLS = ("model[batch=8]", "api[concurrency=1]", "api[concurrency=8]")

_PYTEST_INI = """\
[pytest]
testpaths = unit_tests
addopts = --strict-markers --strict-config
filterwarnings =
    error
    ignore:Module already imported:pytest.PytestAssertRewriteWarning
perf_cells =
    model=8
    api=1,8
perf_processes = 3
perf_report =
"""

# The last three are pytester's own.
_GITIGNORE = f"""\
{scripted_instrument.PLAN_FILE}
{scripted_instrument.LOG_FILE}
__pycache__/
.*/
/stdout
/stderr
/runpytest-*
"""

_TEST_CELLS = """\
from pathlib import Path

import pytest

from scripted_instrument import ScriptedTarget

ROOT = Path(__file__).parent.parent
api = ScriptedTarget("api", "concurrency", "requests", ROOT)
model = ScriptedTarget("model", "batch", "images", ROOT)


@pytest.mark.perf_target(api)
def test_api(perf_cell):
    perf_cell.check()


@pytest.mark.perf_target(model)
def test_model(perf_cell):
    perf_cell.check()
"""


class TinyProject:
    """The project's files, its plan of what will be "measured", and runs of pytest in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.root = pytester.path
        self.write("pytest.ini", _PYTEST_INI)
        self.write(".gitignore", _GITIGNORE)
        self.write("service/__init__.py", "")
        self.write("requirements.lock", "")
        self.write("perf_tests/conftest.py", "")
        self.write("perf_tests/test_cells.py", _TEST_CELLS)
        self.write("unit_tests/test_unit.py", "def test_unit():\n    pass\n")
        shutil.copy(scripted_instrument.__file__, self.root / "perf_tests" / "scripted_instrument.py")
        self.plan()

    def write(self, path: str, text: str) -> None:
        """Write one file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def plan(
        self,
        throughput_per_s: Mapping[str, float] | None = None,
        failures: Mapping[str, Sequence[str]] | None = None,
        **others: str,
    ) -> None:
        """Say what the next run measures; 100 a second where nothing else is named."""
        throughput = {**dict.fromkeys(CELLS, 100.0), **(throughput_per_s or {})}
        plan = {"throughput_per_s": throughput, "failures": dict(failures or {}), **others}
        self.write(scripted_instrument.PLAN_FILE, json.dumps(plan))

    def commit(self) -> None:
        """Make the project a git repository, if it isn't one, and commit everything."""
        if not (self.root / ".git").exists():
            git(self.root, "init", "--quiet")
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--message", "all")

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process, or in one of its own under ``--runpytest=subprocess``."""
        return self._pytester.runpytest(*arguments)

    def run_as_process(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        return self._pytester.runpytest_subprocess(*arguments)

    def accept(self) -> None:
        """Commit, and store what the plan says as the baseline."""
        self.commit()
        result = self.run("perf_tests", "--perf-accept")
        assert result.ret == pytest.ExitCode.OK, result.stdout.str()

    @property
    def measured(self) -> list[str]:
        """A line for each measurement so far."""
        log = self.root / scripted_instrument.LOG_FILE
        return log.read_text().splitlines() if log.exists() else []

    @property
    def baseline_file(self) -> Path:
        """Where this machine's baseline belongs, whether it exists or not."""
        return baseline_path(self.root / "perf_tests" / "baselines", read_fingerprint((), {}).machine_class)

    def baseline(self) -> Baseline:
        """The stored baseline of this machine."""
        return read_baseline(self.root / "perf_tests" / "baselines", read_fingerprint((), {}).machine_class)


def git(root: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def table_of(result: pytest.RunResult) -> dict[str, str]:
    """The verdict of each cell in the table at the end."""
    _, _, summary = result.stdout.str().partition(" performance ")
    rows = [line for line in summary.splitlines() if line.startswith(CELLS) and "  " in line]
    return {row.split()[0]: row.split("  ")[-1].strip() for row in rows}

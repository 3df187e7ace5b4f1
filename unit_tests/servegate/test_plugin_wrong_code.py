"""A comparison whose arms would run the same code fails, end to end: never a verdict, never a traceback."""

import pytest

from unit_tests.builders.tiny_project import TinyProject

WORKER = """\
import json
import sys

print(json.dumps({"ready": {}}), flush=True)
for line in sys.stdin:
    print(json.dumps({"seconds": [0.01] * json.loads(line)["rounds"]}), flush=True)
"""
TESTS = """\
from pathlib import Path

import pytest

from servegate.api import WorkerTarget

model = WorkerTarget("model", ["{{python}}", {script}])


@pytest.mark.perf_target(model)
def test_model(perf_cell):
    perf_cell.check()
"""


@pytest.mark.parametrize(
    ("script", "is_right"),
    [("'service/worker.py'", True), ("str(Path(__file__).parents[1] / 'service' / 'worker.py')", False)],
)
def test_an_absolute_path_in_the_command_is_an_error_that_names_it(
    tiny_project: TinyProject, script: str, is_right: bool
) -> None:
    tiny_project.write("service/worker.py", WORKER)
    tiny_project.write("perf_tests/test_cells.py", TESTS.format(script=script))
    tiny_project.commit()
    result = tiny_project.run("perf_tests", "--perf-versus=HEAD", "--perf-pairs=2", "--perf-blocks=2")
    if is_right:
        result.assert_outcomes(passed=5)  # a cell and four figures
        return
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines([f"*the base loaded __main__ from {tiny_project.root}/service/worker.py*"])
    assert "Traceback" not in result.stdout.str()
    assert "PASS" not in result.stdout.str()

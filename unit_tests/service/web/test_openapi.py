"""The service's own description: schemathesis finds no answer of the real server that isn't in it."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from servegate.processes.server import ServerProcess
from unit_tests.builders.repository import ROOT

_SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"


@pytest.mark.slow
def test_no_answer_is_undocumented(server: ServerProcess, tmp_path: Path) -> None:
    """Statuses, content types, headers and bodies, of good requests and of bad ones."""
    # A string that fits the schema is seldom an image: that it's refused is no fault.
    options = ["--exclude-checks", "positive_data_acceptance", "--max-examples", "60", "--continue-on-failure"]
    finished = subprocess.run(
        [_SCHEMATHESIS, "run", f"{server.url}/openapi.json", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "unit_tests.service.web.schemathesis_images"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    passed = re.search(r"(\d+) generated, (\d+) passed", finished.stdout)
    assert passed, finished.stdout
    assert passed[1] == passed[2]
    assert int(passed[1]) > 100, "it tried more than the simplest"

"""Settings of the gate: some to start from, and those that pytest reads beside a pytest.ini."""

from pathlib import Path

import pytest

from servegate.load.engines import LoadEngine
from servegate.records import Cell
from servegate.session.settings import GateSettings

API_1, API_8 = Cell("api", "concurrency", 1), Cell("api", "concurrency", 8)
MODEL_8 = Cell("model", "batch", 8)

SETTINGS = GateSettings(
    root=Path("/project"),
    cells={"api": (1, 8), "model": (8,)},
    informing=frozenset(),
    paths=(Path("/project/perf_tests"),),
    baselines=Path("/project/perf_tests/baselines"),
    report=None,
    history=None,
    processes=2,
    seconds=5.0,
    warmup_seconds=1.0,
    margin=0.03,
    error_level=0.01,
    service="service",
    lock="requirements.lock",
    packages=(),
    judged=True,
    strict=False,
    accept=False,
    versus=None,
    deployed=None,
    engine=LoadEngine(),
    selected_groups=None,
    confirm=False,
    same_env=False,
    looks=(3, 5),
    burst_seconds=0.5,
    blocks=2,
    budget_minutes=1.0,
)

INI = """\
[pytest]
perf_cells = model=1,8 api=1,8,32
perf_processes = 4
perf_margin_percent = 5
"""


def read(pytester: pytest.Pytester, *arguments: str, ini: str = INI) -> GateSettings:
    """The settings of `pytest ARGUMENTS` beside a pytest.ini."""
    pytester.makefile(".ini", pytest=ini)
    return GateSettings.from_pytest_config(pytester.parseconfig(*arguments))

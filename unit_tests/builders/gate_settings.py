"""Settings of the gate: some to start from, and those that pytest reads beside a pytest.ini."""

from dataclasses import replace
from pathlib import Path

import pytest

from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.figures.policy import DEFAULT_MARGINS
from servegate.load.engines import LoadEngine
from servegate.measure.pair_plan import Schedule
from servegate.options.read_settings import read_settings as read_from_config
from servegate.options.settings import (
    FileSettings,
    JudgingSettings,
    MeasuringSettings,
    ProjectSettings,
    Settings,
)
from servegate.records import Cell
from servegate.storage.environments import EnvironmentRecipe

API_1, API_8 = Cell("api", "concurrency", 1), Cell("api", "concurrency", 8)
MODEL_8 = Cell("model", "batch", 8)

INI = """\
[pytest]
perf_cells = model=1,8 api=1,8,32
perf_processes = 4
perf_margin_percent = 5
"""

SETTINGS = Settings(
    root=Path("/project"),
    cells={"api": (1, 8), "model": (8,)},
    informing=frozenset(),
    selected_groups=None,
    is_accepting=False,
    measuring=MeasuringSettings(
        processes=2, seconds=5.0, warmup_seconds=1.0, engine=LoadEngine(), deployed=None, waits=True
    ),
    judging=JudgingSettings(
        is_judged=True,
        is_strict=False,
        versus=None,
        confirm=False,
        margin=0.02,
        margins={},
        allowances=(),
        figures=DEFAULT_MARGINS,
        latency_limits=LatencyLimits(),
        error_level=0.01,
        looks=(3, 5),
        schedule=Schedule(burst_s=0.5, blocks=2),
        budget_s=60.0,
    ),
    files=FileSettings(
        paths=(Path("/project/perf_tests"),),
        baselines=Path("/project/perf_tests/baselines"),
        report=None,
        history=None,
    ),
    project=ProjectSettings(service="service", packages=(), recipe=EnvironmentRecipe("requirements.lock"), carried=()),
)


def read_settings(pytester: pytest.Pytester, *arguments: str, ini: str = INI) -> Settings:
    """The settings of `pytest ARGUMENTS` beside a pytest.ini."""
    pytester.makefile(".ini", pytest=ini)
    return read_from_config(pytester.parseconfig(*arguments))


def judging(settings: Settings = SETTINGS, **changes: object) -> Settings:
    """The settings with other values in `Settings.judging`."""
    return replace(settings, judging=replace(settings.judging, **changes))  # type: ignore[arg-type]

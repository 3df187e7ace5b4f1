"""What all unit tests have in common: no settings from outside, and NVML without a GPU for those that ask."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.environment import METRICS_FOLDER, share_metrics
from service.settings import ENV_PREFIX
from unit_tests.builders.nvml.stand_in import StandInNvml, compile_stand_in


def pytest_configure() -> None:
    """Let each test process count metrics with the processes that it starts; xdist's workers inherit the variable."""
    if "prometheus_client" in sys.modules:
        return  # mutation testing forks a process that has done this, and the fork keeps its folder
    os.environ.pop(METRICS_FOLDER, None)
    share_metrics()


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """Tests see the default settings, whatever the developer's shell has set, and ask local servers without a proxy."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name.upper().startswith(ENV_PREFIX) or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        yield


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_stand_in(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> StandInNvml:
    """NVML with no GPU yet, and all of them visible."""
    return StandInNvml(nvml_library, monkeypatch)

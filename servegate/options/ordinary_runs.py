"""A run that doesn't ask for performance tests, as `pytest` alone, leaves them out and says how they are run."""

from typing import Any

import pytest

from servegate.options.performance_paths import name_folders, runs_in_parallel

_NAME = "servegate ordinary run"
# What pytest-xdist hands to its workers, which don't see the command line.
_INPUT = "servegate_leaves_out"
_FIXTURE = "perf_cell"


def leave_performance_tests_out(config: pytest.Config) -> None:
    """Deselect the performance tests that this run collects."""
    config.pluginmanager.register(OrdinaryRun(config), _NAME)


def is_told_to_leave_out(worker: pytest.Config) -> bool:
    """Whether the process that started this xdist worker runs no performance tests."""
    return bool(getattr(worker, "workerinput", {}).get(_INPUT))


class OrdinaryRun:
    """The hooks of such a run."""

    def __init__(self, config: pytest.Config) -> None:
        self._left_out = 0
        self._is_parallel = runs_in_parallel(config)
        self._advice = f"to measure, write: pytest {name_folders(config)}"

    def pytest_report_header(self) -> list[str]:
        """Say it here with xdist, which collects in other processes; else the line after the collection says it."""
        return [f"servegate: performance tests are left out; {self._advice}"] if self._is_parallel else []

    @pytest.hookimpl(trylast=True)  # don't count the tests that -k and -m leave out
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect the performance tests."""
        left_out = [item for item in items if _FIXTURE in getattr(item, "fixturenames", ())]
        self._left_out = len(left_out)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say how many tests are left out and how they are run."""
        if not self._left_out:
            return []
        tests = "1 performance test is" if self._left_out == 1 else f"{self._left_out} performance tests are"
        return [f"servegate: {tests} left out; {self._advice}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist to leave them out, too."""
        node.workerinput[_INPUT] = True

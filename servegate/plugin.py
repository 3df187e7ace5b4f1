"""servegate's pytest plugin, which pytest loads into every run of a project that has servegate installed.

It declares the options. Only a run that measures imports the rest, so that other runs don't wait for it.
"""

from typing import TYPE_CHECKING, Any

import pytest

from servegate.errors import ServegateError
from servegate.options.catalogue import add_options
from servegate.options.ordinary_runs import is_told_to_leave_out, leave_performance_tests_out
from servegate.options.performance_paths import (
    advise,
    asks_for_performance,
    name_folders,
    performance_paths,
    runs_in_parallel,
    write_without_xdist,
)

if TYPE_CHECKING:
    from servegate.session.hooks import CellReporter


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads its options
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "perf_target(*targets): the test reports one cell of its targets at a time")
    if hasattr(config, "workerinput"):  # an xdist worker: the process that started it has checked the command line
        if is_told_to_leave_out(config):
            leave_performance_tests_out(config)
        return
    try:
        if asks_for_performance(config):
            # Imports numpy, scipy and aiohttp: an ordinary run starts 0.8 s earlier without them.
            from servegate.session.hooks import start_session

            start_session(config)
        elif performance_paths(config):
            leave_performance_tests_out(config)
    except ServegateError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def perf_cell(request: pytest.FixtureRequest, benchmark: Any) -> "CellReporter":
    """One cell of the targets that the test is marked with; `perf_cell.check()` measures, judges and reports it."""
    hooks = request.config.pluginmanager.get_plugin("servegate session")
    if hooks is None:
        benchmark.skipped = True  # or pytest-benchmark would complain, too
        raise pytest.UsageError(f"{request.node.nodeid} is a performance test and {_explain(request.config)}")
    reporter: CellReporter = hooks.report_cell(request, benchmark)
    return reporter


def _explain(config: pytest.Config) -> str:
    """Why this run measures nothing, and what to write."""
    folders = name_folders(config)
    if runs_in_parallel(config):
        return f"must run without others at its side; write: {write_without_xdist(config, f'pytest {folders}')}"
    return f"lies in none of the folders that perf_paths names ({folders}); " + advise(config, f"pytest {folders}")

"""servegate's pytest plugin, which pytest loads into every run of a project that has servegate installed.

It declares the options. Only a run that measures imports the rest, so that other runs don't wait for it.
"""

from typing import TYPE_CHECKING, Any

import pytest

from servegate.errors import ServegateError
from servegate.options.catalogue import add_options, is_any_given
from servegate.options.performance_paths import advise, performance_paths

if TYPE_CHECKING:
    from servegate.session.hooks import CellReporter


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads its options
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "perf_target(*targets): the test reports one cell of its targets at a time")
    if hasattr(config, "workerinput"):
        return  # an xdist worker: the process that started it has checked the command line
    try:
        if performance_paths(config) or is_any_given(config):
            # Imports numpy, scipy and aiohttp: an ordinary run starts 0.8 s earlier without them.
            from servegate.session.hooks import start_session

            start_session(config)
    except ServegateError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def perf_cell(request: pytest.FixtureRequest, benchmark: Any) -> "CellReporter":
    """One cell of the targets that the test is marked with; `perf_cell.check()` measures, judges and reports it."""
    hooks = request.config.pluginmanager.get_plugin("servegate session")
    if hooks is None:
        benchmark.skipped = True  # or pytest-benchmark would complain, too
        raise pytest.UsageError(
            f"{request.node.nodeid} is a performance test, but none of perf_paths stands on the command line; "
            + advise(request.config, "pytest perf_tests")
        )
    reporter: CellReporter = hooks.report_cell(request, benchmark)
    return reporter

"""servegate's public interface: all that a project's performance tests import. Everything else may change.

A performance test is a target and a function:

    import pytest

    from servegate.api import HttpService, HttpTarget, Workload

    service = HttpService(["{python}", "-m", "service.server", "--port", "{port}"])
    reviews = HttpTarget(
        "api",
        service,
        Workload.from_json("/predict", {"text": "I love it."}, expected={"score": 1.0}, tolerance=0.001),
    )

    @pytest.mark.perf_target(reviews)
    def test_api(perf_cell):
        perf_cell.check()

`perf_cells = api=1,8,32` in the ini file makes three tests of it.
"""

from servegate import __version__
from servegate.errors import ProcessError, ServegateError, SettingsError
from servegate.load.expected import Checked, Lines, Raw, Text
from servegate.load.workload import WeightedSet, Workload
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget, OpenLoopTarget
from servegate.measure.targets import MeasurementTarget
from servegate.measure.workers import WorkerTarget
from servegate.processes.server import ServerProcess
from servegate.records import Cell, Checkout
from servegate.session.hooks import CellReporter

__all__ = [
    "Cell",
    "CellReporter",
    "Checked",
    "Checkout",
    "HttpService",
    "HttpTarget",
    "Lines",
    "MeasurementTarget",
    "OpenLoopTarget",
    "ProcessError",
    "Raw",
    "ServegateError",
    "ServerProcess",
    "SettingsError",
    "Text",
    "WeightedSet",
    "WorkerTarget",
    "Workload",
    "__version__",
]

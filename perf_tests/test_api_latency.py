"""Latency of the whole service under requests that come at random times."""

import pytest

from perf_tests.targets import LATENCY
from servegate.api import CellReporter


@pytest.mark.perf_target(LATENCY)
def test_api_latency(perf_cell: CellReporter) -> None:
    """Time from when a request was to be sent, at a load in percent of the capacity; every answer is right."""
    perf_cell.check()

"""Throughput of the whole service."""

import pytest

from perf_tests.targets import API
from servegate.api import CellReporter


@pytest.mark.perf_target(API)
def test_api_throughput(perf_cell: CellReporter) -> None:
    """Requests a second at one concurrency are not below the baseline's, and every answer is right."""
    perf_cell.check()

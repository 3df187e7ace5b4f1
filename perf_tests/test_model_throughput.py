"""Throughput of the model alone."""

import pytest

from perf_tests.targets import MODEL
from servegate.api import CellReporter


@pytest.mark.perf_target(MODEL)
def test_model_throughput(perf_cell: CellReporter) -> None:
    """Images a second through the model at one batch size are not below the baseline's."""
    perf_cell.check()

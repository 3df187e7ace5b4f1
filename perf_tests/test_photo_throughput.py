"""Throughput for the kinds of photos that people send."""

import pytest

from perf_tests.targets import PHOTO
from servegate.api import CellReporter


@pytest.mark.perf_target(PHOTO)
def test_photo_throughput(perf_cell: CellReporter) -> None:
    """Requests a second with one kind of photo are not below the baseline's, and every answer is right."""
    perf_cell.check()

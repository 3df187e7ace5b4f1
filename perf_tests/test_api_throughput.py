"""Throughput of the whole service."""

import pytest

from servegate.measure.targets import Group
from servegate.plugin import CellGate


@pytest.mark.perf_cell(group="api", parameter="concurrency")
def test_api_throughput(concurrency: int, api_group: Group, gate: CellGate) -> None:  # noqa: ARG001  (names the cell)
    """Requests a second at one concurrency are not below the baseline's, and every answer is right."""
    gate.check(api_group)

"""Latency of the whole service under requests that come at random times."""

import pytest

from servegate.measure.targets import Group
from servegate.plugin import CellGate


@pytest.mark.perf_cell(group="latency", parameter="load")
def test_api_latency(load: int, latency_group: Group, gate: CellGate) -> None:  # noqa: ARG001  (names the cell)
    """Time from when a request was to be sent, at a load in percent of the capacity; every answer is right."""
    gate.check(latency_group)

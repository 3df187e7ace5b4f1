"""Throughput from a file's bytes to its answer without a server: the API's ceiling."""

import pytest

from servegate.measure.targets import Group
from servegate.plugin import CellGate


@pytest.mark.perf_cell(group="pipeline", parameter="images")
def test_pipeline_throughput(images: int, pipeline_group: Group, gate: CellGate) -> None:  # noqa: ARG001  (names the cell)
    """Images a second with so many in a round; every answer is right."""
    gate.check(pipeline_group)

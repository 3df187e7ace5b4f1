"""Throughput of the model alone."""

import pytest

from servegate.measure.targets import Group
from servegate.plugin import CellGate


@pytest.mark.perf_cell(group="model", parameter="batch")
def test_model_throughput(batch: int, model_group: Group, gate: CellGate) -> None:  # noqa: ARG001  (names the cell)
    """Images a second through the model at one batch size are not below the baseline's."""
    gate.check(model_group)

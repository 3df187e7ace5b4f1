"""Requests a second are not below the baseline's, and every answer is right."""

import pytest


@pytest.mark.perf_cell(group="api", parameter="concurrency")
def test_api(concurrency, api_group, gate):
    gate.check(api_group)

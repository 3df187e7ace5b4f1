"""Requests a second of both endpoints are not below the baseline's, and every answer is right."""

import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "-m", "service.server"], environment={"PORT": "{port}"}, health_path="/ready")
words = HttpTarget("words", service, Workload.from_json("/count", {"text": "to be or not"}, expected={"words": 4}))
tags = HttpTarget("tags", service, Workload("/tags", b"one #two #three", expected={"tags": ["#two", "#three"]}))


@pytest.mark.perf_target(words, tags)
def test_endpoints(perf_cell):
    perf_cell.check()

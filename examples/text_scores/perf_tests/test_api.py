"""Requests a second are not below the baseline's, and every answer is right."""

import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "-m", "service.server", "--port", "{port}"])
review = {"text": "A great film with a boring end. I love it."}
api = HttpTarget("api", service, Workload.from_json("/predict", review, expected={"score": 0.4}, tolerance=0.001))


@pytest.mark.perf_target(api)
def test_api(perf_cell):
    perf_cell.check()

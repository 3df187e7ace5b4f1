"""The service is not slower than the commit that it is compared with, and every answer is right."""

import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "server.py"], environment={"PORT": "{port}"})
api = HttpTarget(
    "api", service, Workload.from_json("/predict", {"input": 4.0}, expected={"output": 80.0}, tolerance=0.1)
)


@pytest.mark.perf_target(api)
def test_service(perf_cell):
    perf_cell.check()

"""The service is not slower than the commit that it is compared with, and every answer is right."""

import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "server.py"], environment={"PORT": "{port}"})
api = HttpTarget(
    "api",
    service,
    Workload.from_json(
        "/predict",
        {"pixels": [0, 80, 80, 0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200, 0]},
        expected={"digit": 2.0, "probability": 0.1136},
        tolerance=0.01,
    ),
)


@pytest.mark.perf_target(api)
def test_service(perf_cell):
    perf_cell.check()

"""The service is not slower than the commit that it is compared with, and every answer is right."""

import pytest

from servegate.api import HttpService, HttpTarget, Workload

service = HttpService(["{python}", "-m", "reviews.server", "--port", "{port}"])
api = HttpTarget(
    "api",
    service,
    Workload.from_json("/words", {"text": "a review is a review"}, expected={"words": {"a": 2, "review": 2, "is": 1}}),
)


@pytest.mark.perf_target(api)
def test_service(perf_cell):
    perf_cell.check()

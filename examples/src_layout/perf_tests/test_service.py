"""The service is not slower than the commit that it is compared with, and every answer is right."""

from pathlib import Path

import pytest

from servegate.api import HttpService, HttpTarget, Lines, Workload

service = HttpService(["{python}", "-m", "reviews.server", "--port", "{port}"])
words = HttpTarget(
    "words",
    service,
    Workload.from_json("/words", {"text": "a review is a review"}, expected={"words": {"a": 2, "review": 2, "is": 1}}),
)
upload = HttpTarget(
    "upload",
    service,
    Workload(
        "/upload",
        (Path(__file__).parent.parent / "review.txt").read_bytes(),
        {"Content-Type": "text/plain"},
        expected={"words": {"a": 1, "great": 1, "film": 1}},
    ),
)
summary = HttpTarget(
    "summary",
    service,
    Workload.from_json(
        "/summary",
        {"text": "a great film with a boring end"},
        expected=Lines([{"word": "boring"}, {"word": "great"}, {"word": "film"}, {"word": "with"}, {"word": "end"}]),
    ),
)


@pytest.mark.perf_target(words, upload, summary)
def test_service(perf_cell):
    perf_cell.check()

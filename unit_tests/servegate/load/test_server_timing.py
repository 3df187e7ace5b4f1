"""A service's `Server-Timing` header becomes stages, and what can't be read of it is skipped."""

from dataclasses import astuple

import pytest

from servegate.load.server_timing import StageSpan, mean_stages, parse_server_timing
from servegate.records import StageTime
from unit_tests.builders.repository import ROOT


def test_the_stages_of_a_header_come_in_its_order() -> None:
    header = "decode;dur=1.5;cpu=1.25;end=1795426500.25, queue;dur=3, predict;dur=80;cpu=64;shared=8;end=1795426501"
    assert parse_server_timing(header) == [
        StageSpan("decode", 0.0015, 0.00125, 1, 1795426500.25),
        StageSpan("queue", 0.003, None, 1, None),
        StageSpan("predict", 0.08, 0.064, 8, 1795426501.0),
    ]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("", []),
        ("cache", []),
        ('cache;desc="hit, or; not \\" so";dur=2.5 , db;dur=1e1', ["cache", "db"]),
        ("miss, db;dur=53.2, ", ["db"]),
        ('db;DUR="4"', ["db"]),
    ],
)
def test_what_the_standard_allows_is_read(header: str, names: list[str]) -> None:
    """Metrics without a duration are no stages; quoted text may hold commas and semicolons."""
    assert [span.name for span in parse_server_timing(header)] == names


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("cdn-cache;desc=cache hit;dur=1, db;dur=2", ["cdn-cache", "db"]),
        ("edge;dur=12ms, db;dur=2", ["db"]),
        ("edge;dur=, db;dur=2", ["db"]),
        ("edge;dur, db;dur=2", ["db"]),
        ("edge;dur=fast, db;dur=2", ["db"]),
        ("edge;dur=nan, db;dur=inf", []),
        ("decode;dur=1;cpu=, db;dur=2", ["db"]),
        ("decode;dur=1;shared=0, db;dur=2", ["db"]),
        ("decode;dur=1;shared=1.5", []),
        ("a;dur=1, =;, ;dur=3, two words;dur=4, b;dur=5", ["a", "b"]),
        ('a;desc="no end;dur=1, b;dur=5', ["a", "b"]),
        ("\x00, é/;dur=1, b;dur=5", ["b"]),
    ],
)
def test_what_can_not_be_read_is_skipped(header: str, names: list[str]) -> None:
    """Proxies and CDNs add to the header what the standard doesn't know; what is beside it still counts."""
    assert [span.name for span in parse_server_timing(header)] == names


def test_stages_are_means_over_requests() -> None:
    """A batch's CPU time is shared out among its requests, its time isn't; a stage that was left out counts as 0."""
    alone = [StageSpan("predict", 0.010, 0.008, 1, None), StageSpan("cache", 0.004, None, 1, None)]
    shared = [StageSpan("predict", 0.030, 0.024, 4, None)]
    means = mean_stages([alone, shared])
    assert list(means) == ["predict", "cache"]
    assert astuple(means["predict"]) == pytest.approx((20.0, 7.0))
    assert means["cache"] == StageTime(2.0, None)
    assert mean_stages([]) == {}
    assert mean_stages([[], []]) == {}


@pytest.mark.parametrize("file", ["docs/your-own-service.md", "service/stages.py", "servegate/load/server_timing.py"])
def test_the_documented_examples_are_read(file: str) -> None:
    """With all that a stage may say; an end that is left out of an example stands as dots."""
    text = (ROOT / file).read_text()
    headers = [
        line.partition(":")[2].replace("end=...", "end=1") for line in text.splitlines() if "Server-Timing:" in line
    ]
    assert len(headers) == 1
    spans = {span.name: span for span in parse_server_timing(headers[0])}
    assert (spans["decode"].duration_s, spans["decode"].cpu_s) == pytest.approx((0.001912, 0.00185))
    assert spans["decode"].ended_at_s == 1795426500.123456
    assert spans["predict"].shared == 8

"""The plain server gives the service's answers, and what a comparison prints is what the pairs measured."""

import math
import sys

import pytest
import requests

from perf_tests.photos import cat_jpeg, cat_workload, large_cat_jpeg
from servegate.judging.pairs import PairFigure
from servegate.processes.server import ServerProcess
from servegate.records import Cell
from tools.compare_plain import table
from unit_tests.builders.repository import ROOT
from unit_tests.builders.runs.samples import make_sample

API_8 = Cell("api", "concurrency", 8)


@pytest.mark.slow
def test_the_plain_server_gives_the_right_answers() -> None:
    """For the small photo and for the large one, each within the tolerance that measuring allows."""
    command = [sys.executable, "-m", "tools.plain_server"]
    with ServerProcess(command, cwd=ROOT, ready_deadline_s=180) as server:
        for photo in (cat_jpeg(), large_cat_jpeg()):
            workload = cat_workload(photo)
            answer = requests.post(server.url + workload.path, data=workload.body, headers=workload.headers, timeout=60)
            assert answer.status_code == 200, answer.text
            assert workload.right_answer.find_wrong(answer.content) is None


def _pair(ratio: float) -> PairFigure:
    return PairFigure(math.log(ratio), (), make_sample(20.0), make_sample(20.0 * ratio), seconds=1.0)


@pytest.mark.parametrize(
    ("ratios", "line"),
    [
        ([2.0, 2.0, 2.0], ["api[concurrency=8]", "20.0", "40.0", "2.00", "2.00", "-", "2.00"]),
        ([1.0, 2.0, 4.0], ["api[concurrency=8]", "20.0", "40.0", "2.00", "1.00", "-", "4.00"]),
    ],
)
def test_the_ratio_is_the_geometric_mean_of_the_pairs_with_their_range(ratios: list[float], line: list[str]) -> None:
    heading, row = table({API_8: [_pair(ratio) for ratio in ratios]})
    assert heading.split() == ["cell", "plain/s", "service/s", "ratio", "range", "over", "pairs"]
    assert row.split() == line

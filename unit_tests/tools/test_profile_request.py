"""A real server's requests, split by stage and by process."""

import json

import pytest

from perf_tests.photos import cat_jpeg, cat_workload
from servegate.errors import ServegateError
from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.processes.server import ServerProcess
from tools.profile_request import ROLES, STAGES, Profile, profile, table


@pytest.mark.slow
def test_a_requests_time_is_split_without_remainder(server: ServerProcess) -> None:
    """Every stage and every process took some, and no more than the whole."""
    with LoadEngine().start() as client:
        measured = profile(server, client, "two", LoadJob(server.url, cat_workload(cat_jpeg()), 2, 0.5, 2.0))
    assert list(measured.stages_ms) == list(STAGES)
    assert all(value > 0 for value in measured.stages_ms.values())
    assert 0 < measured.rest_ms < measured.latency_ms
    assert measured.core_ms.keys() == set(ROLES)
    assert all(value > 0 for value in measured.core_ms.values())
    assert measured.core_ms["workers"] > measured.core_ms["client"]


@pytest.mark.slow
def test_a_wrong_answer_is_no_profile(server: ServerProcess) -> None:
    workload = cat_workload(json.dumps({"image": "no photo"}).encode())
    with LoadEngine().start() as client, pytest.raises(ServegateError, match="two: status 415"):
        profile(server, client, "two", LoadJob(server.url, workload, 2, 0.5, 0.5))


def test_the_tables_have_a_row_for_each_load() -> None:
    """With what no stage accounts for, and the sum of all processes."""
    stages, roles = dict.fromkeys(STAGES, 2.0), {"client": 1.0, "HTTP": 2.0, "workers": 4.0}
    lines = table([Profile("one", 50.0, 20.0, stages, roles), Profile("two", 90.0, 30.0, stages, roles)])
    assert lines[0] == "| load | requests/s | latency, ms | decode | queue | batch | predict | encode | rest |"
    assert lines[2] == "| one | 50.0 | 20.0 | 2.0 | 2.0 | 2.0 | 2.0 | 2.0 | 10.0 |"
    assert lines[5:7] == [
        "| load | core-ms a request | client | HTTP | workers |",
        "|---|---|---|---|---|",
    ]
    assert lines[8] == "| two | 7.0 | 1.0 | 2.0 | 4.0 |"

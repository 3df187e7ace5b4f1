"""Groups of cells: what is started for each."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from perf_tests.api_instrument import cat_workload, fresh_server_arm, server_details
from perf_tests.model_instrument import fresh_model_worker
from perfgate.group import Group
from perfgate.measure import ApiInstrument, open_api_instrument
from perfgate.processes import ServerProcess
from perfgate.records import Arm
from perfgate.settings import GateSettings


@pytest.fixture(scope="session")
def model_group(gate_settings: GateSettings) -> Group:
    """The model alone."""
    head = Arm("head", gate_settings.root, sys.executable)
    return Group("model", "images", partial(fresh_model_worker, head), fresh_model_worker)


@pytest.fixture(scope="session")
def api_group(request: pytest.FixtureRequest, gate_settings: GateSettings) -> Group:
    """The whole service: the session's server for the first process, then fresh ones in its place.

    A comparison side by side boots servers of its own, so the session's is asked for only when it is measured.
    """
    servers: list[ServerProcess] = []

    @contextmanager
    def fresh_server() -> Iterator[ApiInstrument]:
        if servers:
            servers[0].start()
        else:
            servers.append(request.getfixturevalue("server"))
        server = servers[0]
        details = server_details(server)
        with open_api_instrument(server, cat_workload(), gate_settings.warmup_seconds, details) as instrument:
            yield instrument

    def release() -> None:
        for server in servers:
            server.stop()

    return Group("api", "requests", fresh_server, fresh_server_arm, release)

"""What is measured: how the server of a checkout starts, and the request that is sent to it."""

import json
import sys
from pathlib import Path

import pytest

from servegate.load.workload import Workload
from servegate.measure.servers import FreshServers, server_group
from servegate.processes.managed import ServerProcess
from servegate.records import Checkout

REVIEW = "A great film with a boring end. I love it."
BODY = json.dumps({"text": REVIEW}).encode()
WORKLOAD = Workload("/predict", BODY, {"Content-Type": "application/json"}, expected={"score": 0.4}, tolerance=0.001)


def make_server(arm):
    return ServerProcess([arm.python, "-m", "service.server"], cwd=arm.folder, ready_deadline_s=60)


@pytest.fixture(scope="session")
def server():
    with make_server(Checkout("head", Path(__file__).parents[1], sys.executable)) as running:
        yield running


@pytest.fixture(scope="session")
def api_group(request, gate_settings):
    servers = FreshServers(lambda: request.getfixturevalue("server"), WORKLOAD, gate_settings.warmup_seconds)
    return server_group(servers, make_server, gate_settings)

"""The whole service: the request that is sent, the answer that is expected, and its server as an arm."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from perf_tests.photos import cat_jpeg
from perfgate.bursts import ApiContender, open_api_contender
from perfgate.processes import ServerProcess
from perfgate.records import Arm
from perfgate.workload import Workload

# float32's answer for the photo; every precision stays within the tolerance of it.
_CAT = 0.9962
_TOLERANCE = 0.02
_READY_DEADLINE_S = 180.0
# Of a cell's load on an arm, before its first burst.
_ARM_WARMUP_S = 0.5


def cat_workload() -> Workload:
    """The cat as base64 in JSON, as most clients send it."""
    return Workload(
        path="/predict",
        body=json.dumps({"image": base64.b64encode(cat_jpeg()).decode()}).encode(),
        headers={"Content-Type": "application/json"},
        expected={"predictions": [{"label": "Cat", "probability": _CAT}, {"label": "Dog", "probability": 1 - _CAT}]},
        tolerance=_TOLERANCE,
    )


@contextmanager
def fresh_server_arm(arm: Arm) -> Iterator[ApiContender]:
    """The server of a checkout, started with the contract alone."""
    command = [arm.python, "-m", "service.server"]
    # This process may have a folder of metrics of its own; the server makes one for itself.
    env = {"PROMETHEUS_MULTIPROC_DIR": ""}
    with (
        ServerProcess(command, cwd=arm.folder, env=env, ready_deadline_s=_READY_DEADLINE_S) as server,
        open_api_contender(server, cat_workload(), _ARM_WARMUP_S, server_details(server)) as contender,
    ):
        yield contender


def server_details(server: ServerProcess) -> dict[str, str]:
    """What a running server says of itself."""
    info = requests.get(f"{server.url}/info", timeout=10).json()["server"]
    return {f"server {name}": str(info[name]) for name in ("devices", "workers_per_device")}

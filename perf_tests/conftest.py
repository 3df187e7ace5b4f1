"""Groups of cells: what is started, what is sent, and the answer that is expected."""

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import requests

from perf_tests.photos import cat_jpeg
from perf_tests.worker_instrument import WorkerJob, fresh_worker
from perfgate.measure import ApiInstrument, Group, open_api_instrument
from perfgate.processes import ServerProcess
from perfgate.records import Arm
from perfgate.settings import GateSettings
from perfgate.workload import Workload

# float32's answer for the photo; every precision stays within the tolerance of it.
_CAT = 0.9962
_TOLERANCE = 0.02
_READY_DEADLINE_S = 180.0


def cat_workload() -> Workload:
    """The cat as base64 in JSON, as most clients send it."""
    return Workload(
        path="/predict",
        body=json.dumps({"image": base64.b64encode(cat_jpeg()).decode()}).encode(),
        headers={"Content-Type": "application/json"},
        expected={"predictions": [{"label": "Cat", "probability": _CAT}, {"label": "Dog", "probability": 1 - _CAT}]},
        tolerance=_TOLERANCE,
    )


@pytest.fixture(scope="session")
def model_group(gate_settings: GateSettings) -> Group:
    """The model alone: one worker on all cores, the same that the server's workers share."""
    return _worker_group("model", WorkerJob(("-m", "service.model_worker", "--workers-per-device", "1")), gate_settings)


@pytest.fixture(scope="session")
def pipeline_group(gate_settings: GateSettings) -> Group:
    """All that the service does to an image, without a server."""
    workload = cat_workload()
    image = {"image": base64.b64encode(cat_jpeg()).decode()}
    job = WorkerJob(("-m", "service.pipeline_worker"), image, workload.expected, workload.tolerance)
    return _worker_group("pipeline", job, gate_settings)


def _worker_group(name: str, job: WorkerJob, settings: GateSettings) -> Group:
    open_arm = partial(fresh_worker, name, job)
    return Group(name, "images", partial(open_arm, Arm("head", settings.root, sys.executable)), open_arm)


@pytest.fixture(scope="session")
def api_group(server: ServerProcess, gate_settings: GateSettings) -> Group:
    """The whole service: the session's server for the first process, then fresh ones in its place."""
    started: list[int] = [server.process.pid]

    @contextmanager
    def fresh_server() -> Iterator[ApiInstrument]:
        if not started:
            server.start()
        started.clear()
        with _instrument(server, gate_settings.warmup_seconds) as instrument:
            yield instrument

    return Group("api", "requests", fresh_server, fresh_arm, release=server.stop)


@contextmanager
def fresh_arm(arm: Arm) -> Iterator[ApiInstrument]:
    """The server of a checkout, started with the contract alone; bursts of load bring their own warm-up."""
    command = [arm.python, "-m", "service.server"]
    with (
        ServerProcess(command, cwd=arm.folder, ready_deadline_s=_READY_DEADLINE_S) as server,
        _instrument(server, warmup_s=0.0) as instrument,
    ):
        yield instrument


@contextmanager
def _instrument(server: ServerProcess, warmup_s: float) -> Iterator[ApiInstrument]:
    info = requests.get(f"{server.url}/info", timeout=10).json()["server"]
    details = {f"server {name}": str(info[name]) for name in ("devices", "workers_per_device")}
    with open_api_instrument(server, cat_workload(), warmup_s, details) as instrument:
        yield instrument

"""Groups of cells: what is started, what is sent, and the answer that is expected."""

import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import requests

from perf_tests.photos import cat_jpeg, cat_workload
from perf_tests.worker_instrument import WorkerJob, fresh_worker
from perfgate.measure import ApiInstrument, Group, OpenLoopInstrument, open_api_instrument
from perfgate.processes import ServerProcess
from perfgate.records import Arm
from perfgate.settings import GateSettings

_READY_DEADLINE_S = 180.0
# Connections with which a closed loop loads the service fully.
_SATURATING = 64


@pytest.fixture(scope="session")
def model_group(gate_settings: GateSettings) -> Group:
    """The model alone: one worker on all cores, the same that the server's workers share."""
    return _worker_group("model", WorkerJob(("-m", "service.model_worker", "--workers-per-device", "1")), gate_settings)


@pytest.fixture(scope="session")
def pipeline_group(gate_settings: GateSettings) -> Group:
    """All that the service does to an image, without a server."""
    workload = cat_workload(cat_jpeg())
    image = {"image": base64.b64encode(cat_jpeg()).decode()}
    job = WorkerJob(("-m", "service.pipeline_worker"), image, workload.expected, workload.tolerance)
    return _worker_group("pipeline", job, gate_settings)


def _worker_group(name: str, job: WorkerJob, settings: GateSettings) -> Group:
    open_arm = partial(fresh_worker, name, job)
    return Group(name, "images", partial(open_arm, Arm("head", settings.root, sys.executable)), open_arm)


class FreshServers:
    """The session's server for the first group that asks, then fresh ones in its place."""

    def __init__(self, server: ServerProcess, warmup_s: float) -> None:
        self._server = server
        self._warmup_s = warmup_s
        self._is_fresh = True

    @contextmanager
    def instrument(self) -> Iterator[ApiInstrument]:
        """A server that has measured nothing before."""
        if not self._is_fresh:
            self._server.start()
        self._is_fresh = False
        with _instrument(self._server, self._warmup_s) as instrument:
            yield instrument

    def release(self) -> None:
        """Stop it: others are measured without it."""
        self._server.stop()
        self._is_fresh = False


@pytest.fixture(scope="session")
def fresh_servers(server: ServerProcess, gate_settings: GateSettings) -> FreshServers:
    return FreshServers(server, gate_settings.warmup_seconds)


@pytest.fixture(scope="session")
def api_group(fresh_servers: FreshServers) -> Group:
    """The whole service."""
    return Group("api", "requests", fresh_servers.instrument, fresh_arm, fresh_servers.release)


@pytest.fixture(scope="session")
def latency_group(fresh_servers: FreshServers) -> Group:
    """The whole service under requests that come at random times."""

    @contextmanager
    def fresh() -> Iterator[OpenLoopInstrument]:
        with fresh_servers.instrument() as instrument:
            yield OpenLoopInstrument(instrument, _SATURATING)

    return Group("latency", "requests", fresh)


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
    with open_api_instrument(server, cat_workload(cat_jpeg()), warmup_s, details) as instrument:
        yield instrument

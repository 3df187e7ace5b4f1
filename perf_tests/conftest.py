"""Groups of cells: what is started for each."""

import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from perf_tests.api_instrument import launch_server_arm, server_details
from perf_tests.photos import cat_jpeg, cat_workload
from perf_tests.worker_instrument import MODEL_JOB, WorkerJob, fresh_worker, launch_worker
from perfgate.errors import SettingsError
from perfgate.group import Group
from perfgate.measure import ApiInstrument, OpenLoopInstrument, open_api_instrument, open_deployed_instrument
from perfgate.processes import ServerProcess
from perfgate.records import Arm
from perfgate.settings import GateSettings

# Connections with which a closed loop loads the service fully.
_SATURATING = 64


@pytest.fixture(scope="session")
def model_group(gate_settings: GateSettings) -> Group:
    """The model alone."""
    return _worker_group("model", MODEL_JOB, gate_settings)


@pytest.fixture(scope="session")
def pipeline_group(gate_settings: GateSettings) -> Group:
    """All that the service does to an image, without a server."""
    workload = cat_workload(cat_jpeg())
    image = {"image": base64.b64encode(cat_jpeg()).decode()}
    # As the model alone it has all cores.
    arguments = ("-m", "service.pipeline_worker", "--workers-per-device", "1")
    job = WorkerJob(arguments, image, workload.expected, workload.tolerance)
    return _worker_group("pipeline", job, gate_settings)


def _worker_group(name: str, job: WorkerJob, settings: GateSettings) -> Group:
    _require_here(name, settings)
    here = Arm("head", settings.root, sys.executable)
    return Group(name, "images", partial(fresh_worker, name, job, here), partial(launch_worker, name, job))


def _require_here(name: str, settings: GateSettings) -> None:
    if settings.deployed is not None:
        raise SettingsError(f"the group {name!r} can't be measured at a URL, only 'api'; leave it out of --perf-cells")


class FreshServers:
    """The session's server for the first measurement that asks, then fresh ones in its place.

    A comparison side by side boots servers of its own, so the session's is asked for only when it is measured.
    """

    def __init__(self, session_server: Callable[[], ServerProcess], warmup_s: float) -> None:
        self._session_server = session_server
        self._warmup_s = warmup_s
        self._server: ServerProcess | None = None

    @contextmanager
    def instrument(self) -> Iterator[ApiInstrument]:
        """A server that has measured nothing before."""
        if self._server is None:
            self._server = self._session_server()
        else:
            self._server.start()
        details = server_details(self._server)
        with open_api_instrument(self._server, cat_workload(cat_jpeg()), self._warmup_s, details) as instrument:
            yield instrument

    def release(self) -> None:
        """Stop it: others are measured without it."""
        if self._server is not None:
            self._server.stop()


@pytest.fixture(scope="session")
def fresh_servers(request: pytest.FixtureRequest, gate_settings: GateSettings) -> FreshServers:
    return FreshServers(lambda: request.getfixturevalue("server"), gate_settings.warmup_seconds)


@pytest.fixture(scope="session")
def api_group(fresh_servers: FreshServers, gate_settings: GateSettings) -> Group:
    """The whole service; the one that runs elsewhere if the command line names it."""
    deployed = gate_settings.deployed
    if deployed is not None:
        workload, warmup_s = cat_workload(cat_jpeg()), gate_settings.warmup_seconds
        return Group("api", "requests", partial(open_deployed_instrument, deployed, workload, warmup_s))
    return Group("api", "requests", fresh_servers.instrument, launch_server_arm, fresh_servers.release)


@pytest.fixture(scope="session")
def latency_group(fresh_servers: FreshServers, gate_settings: GateSettings) -> Group:
    """The whole service under requests that come at random times."""
    _require_here("latency", gate_settings)

    @contextmanager
    def fresh() -> Iterator[OpenLoopInstrument]:
        with fresh_servers.instrument() as instrument:
            yield OpenLoopInstrument(instrument, _SATURATING)

    return Group("latency", "requests", fresh)

"""Groups of cells: what is started for each."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from perf_tests.api_instrument import make_server, server_details
from perf_tests.photos import cat_jpeg, cat_workload
from servegate.errors import SettingsError
from servegate.load.engines import LoadEngine
from servegate.measure.process_by_process import OpenLoopInstrument
from servegate.measure.servers import FreshServers, server_group
from servegate.measure.targets import Group
from servegate.measure.workers import fresh_worker, launch_worker
from servegate.records import Checkout
from servegate.session.settings import GateSettings

# Connections with which a closed loop loads the service fully.
_SATURATING = 64


# One worker on all cores, the same that the server's workers share: so the API's share of it means something.
MODEL_WORKER = ("-m", "service.model_worker", "--workers-per-device", "1")


@pytest.fixture(scope="session")
def model_group(gate_settings: GateSettings) -> Group:
    """The model alone."""
    _require_here("model", gate_settings)
    here = Checkout("head", gate_settings.root, sys.executable)
    return Group(
        "model",
        "images",
        partial(fresh_worker, "model", MODEL_WORKER, here),
        partial(launch_worker, "model", MODEL_WORKER),
    )


def _require_here(name: str, settings: GateSettings) -> None:
    if settings.deployed is not None:
        raise SettingsError(f"the group {name!r} can't be measured at a URL, only 'api'; leave it out of --perf-cells")


@pytest.fixture(scope="session")
def fresh_servers(request: pytest.FixtureRequest, gate_settings: GateSettings) -> FreshServers:
    return FreshServers(
        lambda: request.getfixturevalue("server"),
        cat_workload(cat_jpeg()),
        gate_settings.warmup_seconds,
        server_details,
    )


@pytest.fixture(scope="session")
def api_group(fresh_servers: FreshServers, gate_settings: GateSettings) -> Group:
    """The whole service; the one that runs elsewhere if the command line names it."""
    return server_group(fresh_servers, make_server, gate_settings)


@pytest.fixture(scope="session")
def latency_group(fresh_servers: FreshServers, gate_settings: GateSettings) -> Group:
    """The whole service under requests that come at random times."""
    _require_here("latency", gate_settings)

    @contextmanager
    def fresh() -> Iterator[OpenLoopInstrument]:
        with fresh_servers.instrument(LoadEngine()) as instrument:
            yield OpenLoopInstrument(instrument, _SATURATING)

    return Group("latency", "requests", fresh)

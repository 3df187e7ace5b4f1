"""The server of a checkout: by itself, and as an arm of a comparison side by side."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import requests

from perf_tests.photos import cat_jpeg, cat_workload
from perfgate.bursts import ApiContender, open_api_contender
from perfgate.processes import ServerProcess
from perfgate.records import Arm

_READY_DEADLINE_S = 180.0
# Of a cell's load on an arm, before its first burst.
_ARM_WARMUP_S = 0.5


def server_of(arm: Arm, module: str = "service.server") -> ServerProcess:
    """The server of a checkout, not yet started, by the contract alone."""
    # This process may have a folder of metrics of its own; the server makes one for itself.
    env = {"PROMETHEUS_MULTIPROC_DIR": ""}
    return ServerProcess([arm.python, "-m", module], cwd=arm.folder, env=env, ready_deadline_s=_READY_DEADLINE_S)


@contextmanager
def launch_server_arm(arm: Arm, module: str = "service.server") -> Iterator[Callable[[], ApiContender]]:
    """The server of a checkout: starts it; what this gives waits until it is ready to take turns with another."""
    with ExitStack() as parts:
        server = server_of(arm, module)
        parts.callback(server.stop)
        server.launch()

        def wait_until_ready() -> ApiContender:
            server.wait_until_ready()
            return parts.enter_context(open_api_contender(server, cat_workload(cat_jpeg()), _ARM_WARMUP_S))

        yield wait_until_ready


def server_details(server: ServerProcess) -> dict[str, str]:
    """What a running server says of itself."""
    info = requests.get(f"{server.url}/info", timeout=10).json()["server"]
    return {f"server {name}": str(info[name]) for name in ("devices", "workers_per_device")}

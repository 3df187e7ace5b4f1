"""The service's server, and the plain one: how either is started, and what the service says of itself."""

import requests

from servegate.processes.managed import ServerProcess
from servegate.records import Checkout

_READY_DEADLINE_S = 180.0


def make_server(arm: Checkout, module: str = "service.server") -> ServerProcess:
    """The server of a checkout, not yet started, by the contract alone."""
    # This process may have a folder of metrics of its own; the server makes one for itself.
    env = {"PROMETHEUS_MULTIPROC_DIR": ""}
    return ServerProcess([arm.python, "-m", module], cwd=arm.folder, env=env, ready_deadline_s=_READY_DEADLINE_S)


def server_details(server: ServerProcess) -> dict[str, str]:
    """What a running server says of itself."""
    info = requests.get(f"{server.url}/info", timeout=10).json()["server"]
    return {f"server {name}": str(info[name]) for name in ("devices", "workers_per_device")}

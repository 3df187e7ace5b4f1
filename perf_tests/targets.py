"""What the performance tests measure: how the classifier starts, and what is sent to it."""

import requests

from perf_tests.photos import PhotoKinds, cat_jpeg, cat_workload
from servegate.api import HttpService, HttpTarget, OpenLoopTarget, WorkerTarget


def describe_server(url: str) -> dict[str, str]:
    """What a running server says of itself."""
    with requests.Session() as session:
        # A proxy of the environment can't reach what listens here.
        session.trust_env = False
        info = session.get(f"{url}/info", timeout=10).json()
    model = info.get("model") or {}  # older commits don't tell how the model runs
    details = {
        **{name: info["server"][name] for name in ("devices", "workers_per_device")},
        **{name: model.get(name, "unknown") for name in ("engine", "precision", "device", "threads")},
        **{name: model[name] for name in ("fallback",) if name in model},
    }
    return {f"server {name}": str(value) for name, value in details.items()}


# The server ends earlier by itself, with the reason, if its first worker isn't ready, which may compile the model.
_READY_DEADLINE_S = 690.0

CLASSIFIER = HttpService(
    ["{python}", "-m", "service.server"],
    # This process may have a folder of metrics of its own; the server makes one for itself.
    environment={"PROMETHEUS_MULTIPROC_DIR": ""},
    ready_deadline_s=_READY_DEADLINE_S,
    describe=describe_server,
    session_fixture="server",
)
# One worker on all cores, as many as the server's workers share, so that the API's share of the model means something.
MODEL = WorkerTarget(
    "model",
    ["{python}", "-m", "service.model_worker", "--workers-per-device", "1"],
    unit="images",
    ready_deadline_s=_READY_DEADLINE_S,
)
API = HttpTarget("api", CLASSIFIER, cat_workload(cat_jpeg()), ceiling=MODEL)
PHOTO = HttpTarget("photo", CLASSIFIER, PhotoKinds())
LATENCY = OpenLoopTarget("latency", CLASSIFIER, cat_workload(cat_jpeg()))

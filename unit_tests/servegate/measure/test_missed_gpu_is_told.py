"""A measured process that says that it runs on the CPU, on a machine with a GPU, whatever kind of target it is."""

import json
import sys
from pathlib import Path

import pytest

from servegate.judging.arms import find_fallback
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.measure.http.service import HttpService
from servegate.measure.http.targets import HttpTarget
from servegate.measure.workers import WorkerTarget
from servegate.records import Checkout
from unit_tests.builders.nvml.stand_in import StandInGpu, StandInNvml

_WORKER = f"import sys; print('{json.dumps({'ready': {'device': 'cpu'}})}', flush=True); sys.stdin.read()"
_SERVER = """\
import http.server, sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
_SERVICE = HttpService(["{python}", "-c", _SERVER, "{port}"], describe=lambda _: {"server device": "cpu"})
_TARGETS = [
    WorkerTarget("model", ["{python}", "-c", _WORKER], unit="images", ready_deadline_s=60),
    HttpTarget("api", _SERVICE, Workload.from_json("/predict", {}, expected={})),
]


@pytest.mark.parametrize("target", _TARGETS, ids=lambda target: str(target.name))
def test_its_record_says_that_it_missed_the_gpu(
    target: WorkerTarget | HttpTarget, nvml: StandInNvml, tmp_path: Path
) -> None:
    """Its figures would be stored and compared as those of a class of machine with a GPU."""
    nvml.have(StandInGpu(name="NVIDIA L4"))
    with target.launch(Checkout("head", tmp_path, sys.executable)) as launched:
        launched.wait_until_ready()
        reason = find_fallback(launched.open(LoadEngine()).details)
    assert reason is not None
    assert "device is cpu on a machine with NVIDIA L4" in reason

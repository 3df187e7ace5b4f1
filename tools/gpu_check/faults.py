"""Two faults that need a GPU: the queued work of a stopped process runs on, and a worker loses its device."""

import io
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
import torch
from PIL import Image

from perf_tests.photos import cat_jpeg
from servegate.processes.pausing import ON_GPU
from servegate.processes.server import ServerProcess
from tools.gpu_check.steps import CannotRunError, Row
from tools.stress.server_processes import server_command, workers_of

_ROOT = Path(__file__).parents[2]
# Seconds of queued work, and for how long its process is stopped. The second is as much work as the gate's pause holds.
_STOPPED_S = {2.0: 3.0, ON_GPU.settle_s: ON_GPU.settle_s}
# This program queues as many seconds of work as it is told. When it goes on, it says how long the rest of it takes.
_QUEUE = """
import sys, time, torch
a = torch.randn(8192, 8192, device="cuda")
a @ a
torch.cuda.synchronize()
start = time.perf_counter()
a @ a
torch.cuda.synchronize()
once = time.perf_counter() - start
for line in sys.stdin:
    for _ in range(max(1, int(float(line) / once))):
        a @ a
    print("queued", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    torch.cuda.synchronize()
    print(time.perf_counter() - start, flush=True)
"""
# Code for a copy of the service: with it, a photo that is all magenta fails an assertion on the device.
_ASSERTION = """

def _with_assertion(predict):
    def check(self, images, **options):
        if (images[:, ::16, ::16] == (255, 0, 255)).all(axis=(1, 2, 3)).any():
            torch._assert_async(torch.zeros(1, device=self._device))
        return predict(self, images, **options)

    return check


Classifier.predict = _with_assertion(Classifier.predict)
"""


def rows() -> Iterator[Row]:
    """Yield a row for each fault."""
    if not torch.cuda.is_available():
        raise CannotRunError("there is no GPU that torch can use")
    yield from _stop_with_queued_work()
    yield from _lose_device()


def _stop_with_queued_work() -> Iterator[Row]:
    """Stop a process with queued work, and measure how much of the work is left afterwards."""
    command = [sys.executable, "-c", _QUEUE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdin is not None
        assert job.stdout is not None
        for queued_s, stopped_s in _STOPPED_S.items():
            job.stdin.write(f"{queued_s}\n")
            job.stdin.flush()
            job.stdout.readline()
            job.send_signal(signal.SIGSTOP)
            time.sleep(stopped_s)
            job.send_signal(signal.SIGCONT)
            job.stdin.write("\n")
            job.stdin.flush()
            left_s = float(job.stdout.readline())
            yield {
                "queued s": queued_s,
                "process stopped for s": stopped_s,
                "left afterwards s": left_s,
                "it ran on": left_s < queued_s / 2,
            }


def _lose_device() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(_ROOT / "service", Path(folder) / "service", ignore=shutil.ignore_patterns("__pycache__"))
        with (Path(folder) / "service/model/classifier.py").open("a") as source:
            source.write(_ASSERTION)
        command = server_command("--workers-per-device", "1", "--device", "cuda")
        with ServerProcess(command, cwd=Path(folder), env={"PYTHONPATH": folder}, ready_deadline_s=50) as server:
            [before] = workers_of(server.process.pid)
            magenta = io.BytesIO()
            Image.new("RGB", (224, 224), (255, 0, 255)).save(magenta, "PNG")
            start_s = time.monotonic()
            status = _post(server.url, magenta.getvalue()).status_code
            while (answer := _post(server.url, cat_jpeg())).status_code != 200 and time.monotonic() < start_s + 40:
                time.sleep(0.2)
            yield {
                "status of the photo that fails": status,
                "status of the next": answer.status_code,
                "seconds to that": time.monotonic() - start_s,
                "the worker was replaced": before not in workers_of(server.process.pid),
            }


def _post(url: str, photo: bytes) -> requests.Response:
    headers = {"content-type": "application/octet-stream"}
    return requests.post(f"{url}/predict", data=photo, headers=headers, timeout=60)

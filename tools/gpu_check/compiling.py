"""All batch sizes compiled afresh, side by side as at a first start: how long it takes, and the log of a failure."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from service.model.classifier import default_precision
from service.model.compiler import CompileJob
from service.model.forward import compiled_sizes, compiler_environment, start_compiler
from service.processes import kill_tree
from service.settings import load_settings
from tools.gpu_check.steps import Row

_LIMIT_S = 125.0


def rows() -> Iterator[Row]:
    """Yield a row for each size, the largest first."""
    settings = load_settings(["--engine", "inductor"], "gpu-check")
    device = torch.device(settings.resolved_device)
    if device.type == "cuda":
        torch.zeros(1, device=device)  # loads the driver's library, as a worker has by then
    precision = default_precision(settings.resolved_device)
    jobs = [
        CompileJob("inductor", size, str(device), precision, settings.model_dump_json(exclude_unset=True))
        for size in compiled_sizes(settings, "inductor", device, precision)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder, scratch = Path(name), Path(name) / "scratch"
        scratch.mkdir()
        environment, start_s = compiler_environment(jobs, scratch), time.monotonic()
        compilers = [start_compiler(job, folder, scratch, environment) for job in jobs]
        try:
            for job, compiler in zip(jobs, compilers, strict=True):
                status = _wait(compiler, start_s + _LIMIT_S)
                row = {"size": job.size, "precision": precision, "ready after s": time.monotonic() - start_s}
                log = (scratch / f"{job.size}.log").read_text(errors="replace")
                yield row if status == 0 else {**row, "status": status, "log": log}
        finally:
            for compiler in compilers:
                kill_tree(compiler.pid)
                compiler.wait()


def _wait(compiler: "subprocess.Popen[bytes]", end_s: float) -> object:
    try:
        return compiler.wait(max(0.0, end_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"not ready after {_LIMIT_S:g} s"

"""The process that compiles a network checks what comes out, and ends with whoever started it."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

import service.compiler
from service.compiler import CompileJob, command_line, compile_network
from service.network import ImageNetwork
from service.settings import load_settings
from service.weights import LoadedModel
from unit_tests.observing import wait_until

_ROOT = Path(__file__).parent.parent


def test_a_network_that_answers_otherwise_once_compiled_is_refused(
    embedded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is not used: the compiler process fails."""
    monkeypatch.setattr(service.compiler, "load_package", lambda *_: lambda _: torch.eye(1000)[:1] * 20)
    images = torch.zeros((1, 32, 32, 3), dtype=torch.uint8)
    network = ImageNetwork(embedded, "float32", torch.device("cpu"))
    with torch.no_grad(), pytest.raises(ArithmeticError, match=r"the compiled network's probabilities differ by 0\.\d"):
        compile_network(network, images, "openvino", tmp_path / "1")


def test_a_compiler_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A server that is killed while it starts leaves no compiler behind."""
    job = CompileJob("inductor", 1, "cpu", "float32", load_settings([], "unit_tests").model_dump_json())
    with subprocess.Popen(
        command_line(job, tmp_path),
        cwd=_ROOT, env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}, stdin=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_until(lambda: os.getsid(process.pid) == process.pid, "it has a session of its own", 60)
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: process.poll() is not None, "it has ended", 10)
        assert process.returncode < 0
    assert list(tmp_path.glob("1*")) == []

"""The process that compiles a network checks what comes out, and ends with whoever started it."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

import service.model.compiler
from service.model.compiled import load_package
from service.model.compiler import CompileJob, command_line, compile_network
from service.model.network import ImageNetwork
from service.model.weights import LoadedModel
from service.settings import Precision, load_settings
from unit_tests.builders.repository import ROOT
from unit_tests.builders.waiting import wait_until


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_answers_otherwise_once_compiled_is_refused(
    precision: Precision, embedded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is not used: the compiler process fails. Here it sees the negative of each image."""
    monkeypatch.setattr(
        service.model.compiler, "load_package", lambda *arguments: lambda images: load_package(*arguments)(255 - images)
    )
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = ImageNetwork(embedded, "float32", torch.device("cpu"))
    with torch.no_grad(), pytest.raises(ArithmeticError, match=rf"logits differ by \d.*, and in {precision} by 0\.\d"):
        compile_network(network, images, "openvino", precision, tmp_path / "1")


def test_a_compiler_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """A server that is killed while it starts leaves no compiler behind."""
    job = CompileJob("inductor", 1, "cpu", "float32", load_settings([], "unit_tests").model_dump_json())
    with subprocess.Popen(
        command_line(job, tmp_path),
        cwd=ROOT, env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}, stdin=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_until(lambda: os.getsid(process.pid) == process.pid, "it has a session of its own", 60)
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: process.poll() is not None, "it has ended", 10)
        assert process.returncode < 0
    assert list(tmp_path.glob("1*")) == []

"""The process that compiles a network checks what comes out, and ends with the process that started it."""

import os
import signal
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


def test_a_compiler_whose_parent_has_ended_compiles_nothing(tmp_path: Path) -> None:
    """Its server was killed while the compiler started; from then on the kernel ends it, see `service.processes`."""
    job = CompileJob("openvino", 1, "cpu", "float32", load_settings([], "unit_tests").model_dump_json())
    *command, parent_pid = command_line(job, tmp_path)
    assert parent_pid == str(os.getpid())
    finished = subprocess.run([*command, str(os.getppid())], cwd=ROOT, check=False, timeout=120)
    assert finished.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []

"""The process that compiles a network checks what comes out, and ends with the process that started it."""

import os
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import cast

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


@pytest.mark.parametrize("loads_folders", [True, False])
def test_a_package_is_unpacked_where_torch_can_load_that(
    loads_folders: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.11 loads no folder. It gets the archive, and then unpacks it at each start."""
    loaded: list[Path] = []

    class Loader:
        def __init__(self, path: str, *_: object) -> None:
            loaded.append(Path(path))
            if Path(path).is_dir() and not loads_folders:
                raise RuntimeError("no zip file")

        def boxed_run(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
            return [images[0].float().mean(dim=(1, 2, 3)).unsqueeze(1)]

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean(dim=(1, 2, 3)).unsqueeze(1)

    def compile_and_package(_: object, *, package_path: str, **__: object) -> None:
        with zipfile.ZipFile(package_path, "w") as archive:
            archive.writestr("2/data/model.so", "code")

    monkeypatch.setattr(torch._C._aoti, "AOTIModelPackageLoader", Loader)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_and_package)
    package, images = tmp_path / "2", torch.ones((2, 8, 8, 3), dtype=torch.uint8)
    compile_network(cast("ImageNetwork", Mean()), images, "inductor", "float32", package)
    assert loaded[-1] == (package if loads_folders else package / "network.pt2")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == (
        ["model.so"] if loads_folders else ["network.pt2"]
    )

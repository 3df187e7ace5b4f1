"""Compiles a model in a process of its own: `python -m service.model.compiler`, started by `service.model.forward`.

The process that serves then loads the result as it does at any later start, with the same imports and the same memory.
It survives a compiler that crashes or hangs.
"""

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from service.model.compiled import ARCHIVE, CompilingEngine, load_package
from service.model.network import ImageNetwork
from service.model.weights import load_model
from service.processes import end_with_parent
from service.settings import Precision, Settings

_MODULE = "service.model.compiler"
# How far the compiled network's logits may be from the network's own, as a share of their size. In bfloat16 another
# order of the sums makes up to 0.15 on images of noise; a network that computes something else is off by about 1.
_TOLERANCES: Mapping[Precision, float] = {"float32": 0.01, "bfloat16": 0.3, "float16": 0.1}


@dataclass(frozen=True)
class CompileJob:
    """The job of one compiler process, which reads it from its command line.

    Attributes
    ----------
    engine:
        The engine that compiles the network.
    size:
        The batch size that it is compiled for, in images; the package is a folder of that name.
    device:
        `cpu` or `cuda:<index>`.
    precision:
        The precision that the network computes in.
    settings:
        The service's settings as JSON.
    """

    engine: CompilingEngine
    size: int
    device: str
    precision: Precision
    settings: str


def command_line(job: CompileJob, folder: Path) -> list[str]:
    """Return the command with which a child of this process runs the job and writes to `folder`."""
    return [sys.executable, "-m", _MODULE, json.dumps(asdict(job)), str(folder), str(os.getpid())]


def main(job_json: str, folder: str, parent_pid: str) -> None:
    """Compile what the job says. Any error ends the process with its traceback."""
    end_with_parent(int(parent_pid))
    job = CompileJob(**json.loads(job_json))
    settings = Settings.model_validate_json(job.settings)
    torch.set_num_threads(settings.threads_per_worker)
    torch.set_grad_enabled(False)
    device = torch.device(job.device)
    shape = (job.size, settings.image_size, settings.image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    # OpenVINO converts a float32 network, also if it computes in another precision later.
    network = ImageNetwork(load_model(settings), "float32" if job.engine == "openvino" else job.precision, device)
    compile_network(network, images, job.engine, job.precision, Path(folder) / str(job.size))


def compile_network(
    network: ImageNetwork, images: Tensor, engine: CompilingEngine, precision: Precision, package: Path
) -> None:
    """Compile a network for batches like `images` into the folder `package`, and check what comes out.

    Raises
    ------
    ArithmeticError
        When the compiled network gives other answers.
    """
    expected = network(images)
    exported = torch.export.export(network, (images,))
    package.mkdir()
    if engine == "openvino":
        # Imported here: a GPU's deployment needs no OpenVINO.
        from service.model import openvino_network

        openvino_network.save(exported, package)
    else:
        _save_inductor(exported, package, precision, images.device)
    compiled = load_package(package, engine, precision, images.device)
    difference = float((compiled(images) - expected).norm() / expected.norm())
    if not difference <= _TOLERANCES[precision]:
        raise ArithmeticError(
            f"the compiled network's logits differ by {difference:.2g} of their size, and in {precision} "
            f"by {_TOLERANCES[precision]:g} at most"
        )


def _save_inductor(exported: ExportedProgram, package: Path, precision: Precision, device: torch.device) -> None:
    archive = package.with_suffix(".pt2")
    torch._inductor.aoti_compile_and_package(
        exported, package_path=str(archive), inductor_configs={"freezing": True, "cpp.threads": torch.get_num_threads()}
    )
    # Unpack it once, here: otherwise the loader unpacks it at every start, into a folder that a killed process leaves.
    with zipfile.ZipFile(archive) as content:
        content.extractall(package.parent)
    try:
        load_package(package, "inductor", precision, device)
    except RuntimeError:
        # Older versions of torch, as images for GPUs have them, load no folder.
        shutil.rmtree(package)
        package.mkdir()
        archive.rename(package / ARCHIVE)
    else:
        archive.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])

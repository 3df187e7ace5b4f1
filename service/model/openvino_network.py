"""The network on a CPU through OpenVINO, which runs convolutions faster than torch does.

OpenVINO's `convert_model` would report its use to a server on the internet, so this calls the frontend below it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from openvino import Core, save_model
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from torch import Tensor
from torch.export import ExportedProgram

from service.settings import Precision

_FILE = "network.xml"  # the weights lie beside it, in float32 for every precision
_HINTS: Mapping[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}


def save(exported: ExportedProgram, package: Path) -> None:
    """Convert a float32 network for batches of one size, and write it into the folder `package`.

    Raises
    ------
    RuntimeError
        When it has an operator that OpenVINO doesn't know.
    """
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder.from_exported_program(exported)  # must outlive what the frontend loads from it
    network = frontend.convert(frontend.load(decoder))
    [images] = exported.example_inputs[0]
    network.reshape(list(images.shape))
    save_model(network, package / _FILE, compress_to_fp16=False)


def load(package: Path, precision: Precision, threads: int) -> Callable[[Tensor], Tensor]:
    """Load the forward pass of a package, for one call at a time.

    On a CPU that can't multiply bfloat16 OpenVINO computes in float32 instead.

    Raises
    ------
    RuntimeError
        When it can't be loaded.
    """
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # Otherwise every worker pins its thread to the same first core.
        "ENABLE_CPU_PINNING": False,
    }
    request = Core().compile_model(package / _FILE, "CPU", options).create_infer_request()

    def forward(images: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0])

    return forward

"""The same model as LitServe's getting-started would serve it, for comparison: `python -m tools.plain_server`.

One worker, timm's own transform in `decode_request`, float32, batches of up to 64. It takes the service's JSON and
gives its answers; it knows nothing of bad images, limits, metrics or stopping.
"""

import argparse
import base64
import io
from collections.abc import Mapping, Sequence

import litserve as ls
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor

from service.model.weights import load_model, outputs_by_label
from service.settings import load_settings


class PlainAPI(ls.LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Image in, labels with probabilities out."""

    def setup(self, device: str) -> None:
        """Load the service's model and the transform that belongs to it."""
        settings = load_settings([], "plain_server")
        self._outputs = outputs_by_label(settings)
        self._network = load_model(settings).network.to(device).eval()
        self._transform = create_transform(**resolve_model_data_config(self._network), is_training=False)
        self._device = device

    def decode_request(self, request: Mapping[str, str]) -> Tensor:
        """One image to the network's input."""
        image = Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")
        tensor: Tensor = self._transform(image)
        return tensor

    def batch(self, inputs: Sequence[Tensor]) -> Tensor:
        """All images on the device."""
        return torch.stack(list(inputs)).to(self._device)

    def predict(self, x: Tensor) -> Tensor:
        """Probabilities of the labels."""
        with torch.inference_mode():
            outputs = self._network(x).softmax(dim=1)
            by_label = torch.stack([outputs[:, list(group)].sum(dim=1) for group in self._outputs.values()], dim=1)
            return by_label / by_label.sum(dim=1, keepdim=True)

    def unbatch(self, output: Tensor) -> list[Tensor]:
        """One row a request."""
        return list(output)

    def encode_response(self, output: Tensor) -> dict[str, list[dict[str, str | float]]]:
        """Labels with probabilities, best first."""
        labels = list(self._outputs)
        best_first = output.argsort(descending=True).tolist()
        return {"predictions": [{"label": labels[index], "probability": float(output[index])} for index in best_first]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.plain_server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = ls.LitServer(PlainAPI(max_batch_size=64, batch_timeout=0.01), workers_per_device=1)
    server.run(host=options.host, port=options.port, generate_client_file=False)

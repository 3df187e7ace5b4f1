"""A small network with weights that git ignores: `PORT=8000 python server.py`."""

import os
from collections.abc import Sequence
from pathlib import Path

# Numpy reads this when it is imported. With a thread for each core, layers would wait for cores that others use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import litserve as ls
import numpy as np

WEIGHTS = Path(__file__).parent / "weights.npz"


class Digits(ls.LitAPI):
    """An image of 4 times 4 pixels in, a digit out."""

    def setup(self, device: str) -> None:
        """Load the weights."""
        with np.load(WEIGHTS) as layers:
            self.layers = [layers[name] for name in sorted(layers)]

    def decode_request(self, request: dict[str, list[float]]) -> np.ndarray:
        """The pixels from 0 to 1."""
        return np.asarray(request["pixels"], dtype=np.float32) / 255

    def batch(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """One array of all images."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The probability of each digit."""
        *hidden, last = self.layers
        for layer in hidden:
            x = np.maximum(x @ layer, 0)
        exponents = np.exp(x @ last - (x @ last).max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """One row an image."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, float]:
        """As the client gets it."""
        return {"digit": int(output.argmax()), "probability": round(float(output.max()), 4)}


if __name__ == "__main__":
    api = Digits(max_batch_size=8, batch_timeout=0.002)
    ls.LitServer(api, accelerator="cpu").run(port=int(os.environ.get("PORT", 8000)), generate_client_file=False)

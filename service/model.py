"""Classifier: a uint8 batch of images to probabilities, on any device."""

import numpy as np
import torch
from torch import Tensor, nn

from service.images import Pixels
from service.settings import Device, Precision, Settings
from service.weights import LoadedModel, load_model

# CPU micro-batch in bfloat16: with AMX larger batches are slower, see docs/decisions (precision by hardware).
_BFLOAT16_CPU_MICRO_BATCH = 8


def default_precision(device: Device) -> Precision:
    """bfloat16 where the hardware multiplies it (GPUs; CPUs with AMX or AVX512-BF16), else float32.

    Without such hardware bfloat16 is emulated: thirty times slower than float32 on a CPU with AVX2 alone.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


class _Normalised(nn.Module):
    """The network with its input's normalisation: uint8-valued RGB in, logits out."""

    mean: Tensor
    std: Tensor

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.network = loaded.network
        self.register_buffer("mean", torch.tensor(loaded.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(loaded.std).view(1, 3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        normalised: Tensor = (images.to(self.mean.dtype) - self.mean) / self.std
        logits: Tensor = self.network(normalised)
        return logits


class Classifier:
    """The model on one device, ready to predict.

    Parameters
    ----------
    loaded:
        The network and what its outputs mean.
    device:
        `cpu`, `cuda` or `cuda:<index>`.
    precision:
        What the network computes in; probabilities are float32.
    micro_batch_size:
        Images a forward pass; larger batches are split.
    """

    def __init__(self, loaded: LoadedModel, device: str, precision: Precision, micro_batch_size: int) -> None:
        self.labels = loaded.labels
        self.precision = precision
        self._device = torch.device(device)
        self._groups = loaded.groups
        self._micro_batch_size = micro_batch_size
        network = _Normalised(loaded).eval().to(self._device, getattr(torch, precision))
        self._network = network.to(memory_format=torch.channels_last)

    @classmethod
    def from_settings(cls, settings: Settings, device: str) -> "Classifier":
        """Load the model that the settings name onto a device.

        Raises
        ------
        WeightsError
            See `service.weights.load_model`.
        """
        kind: Device = "cuda" if device.startswith("cuda") else "cpu"
        precision = default_precision(kind) if settings.precision == "auto" else settings.precision
        small = kind == "cpu" and precision == "bfloat16"
        default_micro_batch = _BFLOAT16_CPU_MICRO_BATCH if small else settings.max_batch_size
        return cls(load_model(settings), device, precision, settings.micro_batch_size or default_micro_batch)

    @torch.inference_mode()
    def predict(self, images: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Probabilities of the labels.

        Parameters
        ----------
        images:
            uint8 RGB of shape (n, size, size, 3), n at least 1.

        Returns
        -------
        numpy.ndarray
            float32 of shape (n, labels); each row sums to 1.
        """
        logits = torch.cat(
            [self._forward(part) for part in torch.split(torch.from_numpy(images), self._micro_batch_size)]
        )
        # log(sum of the group's probabilities); the softmax over groups renormalises them without dividing by a sum
        # that is all but 0 for a photo of neither.
        by_label = torch.stack([logits[:, list(group)].logsumexp(dim=1) for group in self._groups], dim=1)
        probabilities: np.ndarray[tuple[int, int], np.dtype[np.float32]] = by_label.softmax(dim=1).cpu().numpy()
        return probabilities

    @torch.inference_mode()
    def log_probabilities(self, images: Pixels) -> Tensor:
        """Logarithms of the network's own output probabilities, float32 of shape (n, outputs)."""
        return self._forward(torch.from_numpy(images)).log_softmax(dim=1)

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _forward(self, images: Tensor) -> Tensor:
        """float32 logits. NHWC bytes seen as NCHW are channels_last already: nothing is copied for the layout."""
        on_device = images.permute(0, 3, 1, 2).to(self._device, non_blocking=True)
        logits: Tensor = self._network(on_device).float()
        return logits

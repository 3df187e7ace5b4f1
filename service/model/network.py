"""ImageNetwork: the module that is compiled, from the bytes of an image to logits."""

import torch
from torch import Tensor, nn

from service.model.weights import LoadedModel
from service.settings import Precision


class ImageNetwork(nn.Module):
    """A network with its input's normalisation, in one precision: uint8 RGB (n, size, size, 3) to float32 logits.

    The normalisation is float32 in every precision. NHWC bytes, seen as NCHW, have the channels_last layout already, so
    torch copies nothing for the layout.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, loaded: LoadedModel, precision: Precision, device: torch.device) -> None:
        super().__init__()
        mean, std = (torch.tensor(value, device=device).view(1, 3, 1, 1) for value in (loaded.mean, loaded.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        self._dtype: torch.dtype = getattr(torch, precision)
        self.network = loaded.network.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Compute float32 logits of shape (n, outputs)."""
        normalised = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        logits: Tensor = self.network(normalised.to(self._dtype)).float()
        return logits

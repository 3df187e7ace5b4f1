"""Classifier: a uint8 batch of images to probabilities, on any device."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from service.images import Pixels
from service.model.forward import Forward, load_forward
from service.model.weights import outputs_by_label
from service.settings import Device, Precision, Settings

_Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def default_precision(device: Device) -> Precision:
    """Choose bfloat16 where the hardware multiplies it (GPUs; CPUs with AMX or AVX512-BF16), else float32.

    Other hardware emulates bfloat16: a CPU with AVX2 alone is then thirty times slower than in float32.
    """
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


class Classifier:
    """The model on one device, ready to predict.

    Parameters
    ----------
    forward:
        The network, compiled or not.
    groups:
        For each reported label, the network's outputs whose probabilities are summed.
    device:
        The device on which `forward` expects its images.
    precision:
        The precision that the network computes in; probabilities are float32.
    """

    def __init__(
        self, forward: Forward, groups: Mapping[str, Sequence[int]], device: torch.device, precision: Precision
    ) -> None:
        self.labels = tuple(groups)
        self.precision = precision
        self.engine = forward.engine
        self._forward = forward
        self._device = device
        self._places: list[_Place] = []
        # Copy the indices to the device once: indexing with a list would copy it for each batch, and wait for that.
        self._groups = [torch.tensor(outputs, device=device) for outputs in groups.values()]

    @classmethod
    def from_settings(cls, settings: Settings, device: str) -> "Classifier":
        """Load the model that the settings name onto a device, compiled if that is possible.

        Raises
        ------
        WeightsError
            See `service.model.weights.load_model`.
        """
        torch_device = torch.device(device)
        kind: Device = "cuda" if torch_device.type == "cuda" else "cpu"
        precision = default_precision(kind) if settings.precision == "auto" else settings.precision
        forward = load_forward(settings, torch_device, precision)
        return cls(forward, outputs_by_label(settings), torch_device, precision)

    @property
    def details(self) -> dict[str, str]:
        """Engine, precision and device; under `fallback` why it runs otherwise than it was asked to."""
        fallback = {} if self._forward.fallback is None else {"fallback": self._forward.fallback}
        engine = f"{self.engine} with CUDA graphs" if self._forward.cuda_graphs else self.engine
        return {"engine": engine, "precision": self.precision, "device": self._device.type, **fallback}

    def predict(self, images: Pixels, *, use_all_cores: bool = False) -> _Rows:
        """Predict the probabilities of the labels.

        Parameters
        ----------
        images:
            uint8 RGB of shape (n, size, size, 3), n at least 1.
        use_all_cores:
            The other workers on this device are idle: on a CPU this one may take their cores.

        Returns
        -------
        numpy.ndarray
            float32 of shape (n, labels); each row sums to 1.
        """
        return self.enqueue(images, use_all_cores=use_all_cores)()

    @torch.inference_mode()
    def enqueue(self, images: Pixels, *, use_all_cores: bool = False, place: int = 0) -> Callable[[], _Rows]:
        """Queue a batch on a GPU without waiting for it; a CPU computes it at once.

        Parameters
        ----------
        images, use_all_cores:
            As in `predict`.
        place:
            The number of its place among the batches in flight, from 0. A place takes its next batch when the result
            of its last is there.

        Returns
        -------
        Callable
            Waits until the batch is done, and returns what `predict` returns.
        """
        here = self._place(place)
        with here.stream:
            logits = self._forward(self._to_device(images, here), use_all_cores=use_all_cores)
            # This is the logarithm of the sum of each group's probabilities. The softmax over groups normalises the
            # sums without dividing by their total, which is almost 0 for a photo that shows neither label.
            by_label = torch.stack([logits[:, outputs].logsumexp(dim=1) for outputs in self._groups], dim=1)
            # The copy is in pinned memory, so that the GPU writes it in its own time.
            probabilities = by_label.softmax(dim=1).to("cpu", non_blocking=True)
            done = None if self._device.type == "cpu" else torch.cuda.current_stream(self._device).record_event()

        def result() -> _Rows:
            if done is not None:
                done.synchronize()
            rows: _Rows = probabilities.numpy()
            return rows

        return result

    @torch.inference_mode()
    def log_probabilities(self, images: Pixels) -> Tensor:
        """Predict the logarithms of the network's own output probabilities, float32 of shape (n, outputs)."""
        return self._forward(self._to_device(images, self._place(0))).log_softmax(dim=1)

    def warm_up(self, image_size: int, max_batch_size: int) -> None:
        """Predict once in every size that a forward pass can have, and once the largest batch, which takes most memory.

        The first call of a size chooses kernels and packs weights.
        """
        for size in {*self._forward.sizes, max_batch_size}:
            images = np.zeros((size, image_size, image_size, 3), np.uint8)
            for use_all_cores in (False, True):
                self.predict(images, use_all_cores=use_all_cores)
        self.synchronize()

    def device_works(self) -> bool:
        """Whether the device still computes; ask after an error.

        After an illegal access or a failed assertion in a kernel, CUDA refuses everything until the process ends. That
        error shows at whatever call comes next, so its type and text tell little. A GPU without free memory works.
        """
        try:
            return bool(torch.ones(1, device=self._device).item())
        except torch.OutOfMemoryError:
            return True
        except RuntimeError:
            return False

    def synchronize(self) -> None:
        """Wait until the device has done all its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _place(self, number: int) -> "_Place":
        """Return the place of a batch in flight. The first has torch's usual stream, the others have their own."""
        while len(self._places) <= number:
            stream: AbstractContextManager[object] = nullcontext()
            if self._places and self._device.type == "cuda":
                self.synchronize()  # the weights may still be copied in the usual stream, which no other waits for
                own = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch gives it no types
                stream = torch.cuda.stream(own)
            self._places.append(_Place(stream))
        return self._places[number]

    def _to_device(self, images: Pixels, place: "_Place") -> Tensor:
        """Copy the images to the device."""
        tensor = torch.from_numpy(images)
        return tensor if self._device.type == "cpu" else place.staging.copy(tensor).to(self._device, non_blocking=True)


class _Place:
    """The memory and the stream of one batch in flight; on a CPU neither is used."""

    def __init__(self, stream: AbstractContextManager[object]) -> None:
        self.stream = stream
        self.staging = _PinnedBuffer()


class _PinnedBuffer:
    """Memory that a GPU copies from by itself while this process goes on.

    It is kept: to pin memory takes longer than the copy. One batch at a time is in it, which has been predicted when
    the next one comes.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def copy(self, images: Tensor) -> Tensor:
        """Copy a batch into it; larger ones than before make it grow."""
        if len(images) > len(self._buffer):
            self._buffer = torch.empty(images.shape, dtype=torch.uint8, pin_memory=True)
        return self._buffer[: len(images)].copy_(images)

"""The steps of a process that runs the model before its first image: of the server and of the model worker."""

import torch

from service.model.classifier import Classifier
from service.model.errors import DeviceError
from service.settings import Settings


def ready_classifier(settings: Settings, device: str) -> Classifier:
    """Prepare this process, load the model and warm it up.

    Raises
    ------
    ModelError
        When the device, the engine or the weights of the settings can't be had.
    """
    if torch.device(device).type == "cuda":
        _open_gpu(device)
    torch.set_num_threads(settings.threads_per_worker)
    torch.set_grad_enabled(False)
    classifier = Classifier.from_settings(settings, device)
    if classifier.engine == "openvino":
        # OpenVINO has its own thread pool. Torch's idle threads spin between softmax calls and would steal its cores.
        torch.set_num_threads(1)
    classifier.warm_up(settings.image_size, settings.max_batch_size)
    return classifier


def _open_gpu(device: str) -> None:
    """Start CUDA, to learn here whether it can be used."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter: torch without CUDA
        raise DeviceError(f"torch can't use the GPU: {error}") from error

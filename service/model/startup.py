"""What a process that runs the model does before its first image, in the server and beside it alike."""

import torch

from service.model.classifier import Classifier
from service.settings import Settings


def ready_classifier(settings: Settings, device: str) -> Classifier:
    """Prepare this process, load the model and warm it up.

    Raises
    ------
    WeightsError
        See `service.model.weights.load_model`.
    """
    torch.set_num_threads(settings.threads_per_worker)
    torch.set_grad_enabled(False)
    classifier = Classifier.from_settings(settings, device)
    if classifier.engine == "openvino":
        # It has threads of its own; torch's would only take their cores from them while they wait for the next softmax.
        torch.set_num_threads(1)
    classifier.warm_up(settings.image_size, settings.max_batch_size)
    return classifier

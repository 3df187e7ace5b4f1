"""What a process that runs the model does before its first image, in the server and beside it alike."""

import numpy as np
import torch

from service.model import Classifier
from service.settings import Settings


def prepare_process(settings: Settings) -> None:
    """Fix torch's thread count and turn off what inference doesn't need."""
    torch.set_num_threads(settings.threads_per_worker)
    torch.set_grad_enabled(False)


def warm_up(classifier: Classifier, settings: Settings) -> None:
    """Predict the smallest and the largest batch once: first calls choose kernels and take memory."""
    for batch_size in {1, settings.max_batch_size}:
        classifier.predict(np.zeros((batch_size, settings.image_size, settings.image_size, 3), np.uint8))
    classifier.synchronize()

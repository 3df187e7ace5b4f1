"""Classifiers for tests, without settings."""

from collections.abc import Mapping, Sequence

import torch

from service.model.classifier import Classifier
from service.model.forward import EagerNetwork
from service.model.network import ImageNetwork
from service.model.weights import CAT_AND_DOG, LoadedModel


def eager_classifier(
    loaded: LoadedModel, groups: Mapping[str, Sequence[int]] = CAT_AND_DOG, micro_batch_size: int = 8
) -> Classifier:
    """The model in float32 on the CPU, as torch runs it."""
    device = torch.device("cpu")
    forward = EagerNetwork(ImageNetwork(loaded, "float32", device), micro_batch_size)
    return Classifier(forward, groups, device, "float32")

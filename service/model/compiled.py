"""Running what `service.model.compiler` has compiled. Neither the compiler nor timm is imported for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from service.settings import Precision

CompilingEngine = Literal["openvino", "inductor"]


class CompiledNetwork:
    """Compiled forward passes of fixed sizes, together for any number of images.

    Parameters
    ----------
    packages:
        For each size the folder of its package; 1 must be among them.
    engine, precision, device:
        What they were compiled by, and for.
    threads, most_threads:
        On a CPU, where OpenVINO is the engine: usually, and when other workers leave their cores idle.
    """

    def __init__(
        self,
        packages: Mapping[int, Path],
        engine: CompilingEngine,
        precision: Precision,
        device: torch.device,
        threads: int = 1,
        most_threads: int = 1,
    ) -> None:
        self.engine = engine
        self.sizes = tuple(sorted(packages, reverse=True))

        def load(threads: int) -> dict[int, Callable[[Tensor], Tensor]]:
            return {
                size: load_package(package, engine, precision, device, threads) for size, package in packages.items()
            }

        self._usual = load(threads)
        # Inductor's number of threads was chosen when it compiled.
        self._widest = load(most_threads) if engine == "openvino" and most_threads > threads else self._usual

    def __call__(self, images: Tensor, *, use_all_cores: bool = False) -> Tensor:
        """float32 logits of shape (n, outputs)."""
        forward = self._widest if use_all_cores else self._usual
        return torch.cat(
            [forward[len(part)](part) for part in torch.split(images, split_sizes(len(images), self.sizes))]
        )


def load_package(
    package: Path, engine: CompilingEngine, precision: Precision, device: torch.device, threads: int = 1
) -> Callable[[Tensor], Tensor]:
    """One compiled forward pass, for batches of the size that it was compiled for.

    Parameters
    ----------
    precision, threads:
        Of OpenVINO; inductor's were chosen when it compiled.

    Raises
    ------
    RuntimeError
        When it can't be loaded.
    """
    if engine == "openvino":
        # Imported here: a GPU's process does without it.
        from service.model import openvino_network

        return openvino_network.load(package, precision, threads)
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

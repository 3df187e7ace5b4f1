"""Run networks that `service.model.compiler` has compiled, without importing the compiler or timm."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Literal

import torch
from torch import Tensor

from service.settings import WORKERS_ON_GPU, Precision

_LOG = logging.getLogger(__name__)
ARCHIVE = "network.pt2"
"""The name of Inductor's package in its folder, where this version of torch can't load it unpacked."""
LONGEST_REASON = 400
"""The most characters of a reason under `fallback`, which is stored in memory of a fixed size."""
CompilingEngine = Literal["openvino", "inductor"]


class CompiledNetwork:
    """Compiled forward passes of fixed batch sizes, which are combined for any number of images.

    Parameters
    ----------
    packages:
        The folder of each size's package; the sizes must include 1.
    engine, precision, device:
        The engine that compiled them, and the precision and device that it compiled them for.
    threads, most_threads:
        The numbers of OpenVINO's threads: by default, and with `use_all_cores`.
    graph_image_size:
        Width and height of the images for which a CUDA graph of each size is recorded; None to record none. If a graph
        can't be recorded, `fallback` says why, and no forward pass has a graph.
    """

    fallback: str | None = None
    cuda_graphs = False

    def __init__(
        self,
        packages: Mapping[int, Path],
        engine: CompilingEngine,
        precision: Precision,
        device: torch.device,
        threads: int = 1,
        most_threads: int = 1,
        graph_image_size: int | None = None,
    ) -> None:
        self.engine = engine
        self.sizes = tuple(sorted(packages, reverse=True))
        # A GPU computes a larger batch in nearly the same time as a smaller one; a core of a CPU takes longer.
        self._is_padded = device.type == "cuda"

        def load(threads: int, *, recordable: bool = False) -> dict[int, Callable[[Tensor], Tensor]]:
            return {
                size: load_package(package, engine, precision, device, threads, recordable=recordable)
                for size, package in packages.items()
            }

        if graph_image_size is not None:
            # Imported here: nothing on a CPU's way needs it.
            from service.model.cuda_graphs import GraphError, record_graphs

            try:
                self._usual = record_graphs(load(threads, recordable=True), graph_image_size, device)
                self.cuda_graphs = True
            except GraphError as error:
                reason = shorten(str(error), LONGEST_REASON)
                self.fallback = f"CUDA can't record the graphs, so each kernel is launched by itself: {reason}"
                _LOG.warning("CUDA can't record the graphs, so each kernel is launched by itself: %s", error)
        if not self.cuda_graphs:  # here, where the memory of what has failed is free again
            self._usual = load(threads)
        # Inductor chose its number of threads when it compiled.
        self._widest = load(most_threads) if engine == "openvino" and most_threads > threads else self._usual

    def __call__(self, images: Tensor, *, use_all_cores: bool = False) -> Tensor:
        """Compute float32 logits of shape (n, outputs)."""
        forward = self._widest if use_all_cores else self._usual
        if self._is_padded:
            return torch.cat([self._padded(part) for part in torch.split(images, self.sizes[0])])
        return torch.cat(
            [forward[len(part)](part) for part in torch.split(images, split_sizes(len(images), self.sizes))]
        )

    def _padded(self, images: Tensor) -> Tensor:
        """Compute the logits of some images in one forward pass, of the smallest size that they fit in."""
        size = padded_size(len(images), self.sizes)
        # Any image may fill the batch up: no image of a batch changes another one's logits.
        filling = images[:1].expand(size - len(images), -1, -1, -1)
        return self._usual[size](torch.cat([images, filling]))[: len(images)]


def load_package(
    package: Path,
    engine: CompilingEngine,
    precision: Precision,
    device: torch.device,
    threads: int = 1,
    *,
    recordable: bool = False,
) -> Callable[[Tensor], Tensor]:
    """Load one compiled forward pass, for batches of the size that it was compiled for.

    Parameters
    ----------
    precision, threads:
        For OpenVINO. Inductor chose its own when it compiled.
    recordable:
        For Inductor: a CUDA graph is made of it, so no run waits for the end of the one before.

    Raises
    ------
    RuntimeError
        When it can't be loaded.
    """
    if engine == "openvino":
        # Imported here: a GPU's deployment needs no OpenVINO.
        from service.model import openvino_network

        return openvino_network.load(package, precision, threads)
    # The public torch._inductor.aoti_load_package calls this, too, but it imports the compiler, which takes seconds.
    index = -1 if device.type == "cpu" else device.index or 0
    # A runner waits for its own last run. Each batch in flight needs one, or it would be queued when the last is done.
    runners = 1 if device.type == "cpu" else WORKERS_ON_GPU
    archive = package / ARCHIVE
    path = archive if archive.exists() else package
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", recordable, 1 if recordable else runners, index)
    return lambda images: loader.boxed_run([images])[0]


def padded_size(count: int, sizes: Sequence[int]) -> int:
    """Return the smallest of the sizes that holds `count` images; one of them must."""
    return min(size for size in sizes if size >= count)


def split_sizes(count: int, sizes: Sequence[int]) -> list[int]:
    """Split `count` images into parts: as many of the largest size as fit, then of the next.

    Parameters
    ----------
    sizes:
        Largest first; 1 is the last.
    """
    parts: list[int] = []
    for size in sizes:
        parts += [size] * ((count - sum(parts)) // size)
    return parts

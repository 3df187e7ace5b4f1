"""CUDA graphs of compiled forward passes: all kernel launches of a batch size are recorded once and replayed as one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

ForwardPass = Callable[[Tensor], Tensor]
# The first passes load kernels and fold constants, which CUDA can't record.
_WARM_UPS = 3
# How far a graph's logits may be from those of the forward pass, as a share of their size. In bfloat16 another order of
# the sums makes up to 0.15 on images of noise; a graph that doesn't read its images has the logits of those that it was
# recorded with, which are off by about 1.
_TOLERANCE = 0.3


class GraphError(Exception):
    """A forward pass can't be replayed as a graph; the message says why."""


def record_graphs(passes: Mapping[int, ForwardPass], image_size: int, device: torch.device) -> dict[int, ForwardPass]:
    """Record a graph of each forward pass.

    The graphs share a memory pool, so that they take the memory of the largest. A graph that is replayed may overwrite
    what another one has left there, so each result is copied out, and no two of them run at a time, whatever stream
    they are called on. One thread may call them.

    Parameters
    ----------
    passes:
        The forward passes by batch size: uint8 images (size, image_size, image_size, 3) on the device to logits. None
        of them may wait for the device: CUDA records no wait.

    Raises
    ------
    GraphError
        When a forward pass can't be recorded, or its graph gives other logits. The passes are usable as before.
    """
    pool = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    idle = torch.cuda.Event()  # type: ignore[no-untyped-call]
    graphs: dict[int, ForwardPass] = {}
    # The largest comes first: the others fit into its memory.
    for size, forward in sorted(passes.items(), reverse=True):
        shape = (size, image_size, image_size, 3)
        try:
            graphs[size] = RecordedPass(forward, shape, pool, stream, idle)
            _check(graphs[size], forward, shape, stream.device)
        except RuntimeError as error:  # CUDA's errors and a lack of memory are such
            raise GraphError(f"a batch of {size} images: {error}") from error
    return graphs


class RecordedPass:
    """The graph of one forward pass, with the buffers that it reads and writes.

    Parameters
    ----------
    forward:
        The forward pass.
    shape:
        The shape of its batches.
    pool:
        The memory pool for what lies between its layers, and for its logits.
    stream:
        A stream to record on; graphs share memory only if they are recorded on the same one.
    idle:
        The end of the last graph of the pool.

    Raises
    ------
    RuntimeError
        When CUDA can't record it.
    """

    def __init__(
        self, forward: ForwardPass, shape: tuple[int, ...], pool: Any, stream: torch.cuda.Stream, idle: torch.cuda.Event
    ) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._idle = idle
        before = torch.cuda.current_stream(stream.device)
        stream.wait_stream(before)
        # This ends on the stream of before, also where a recording fails: then torch.cuda.graph leaves its own behind.
        with torch.cuda.stream(stream):
            self._images = torch.zeros(shape, dtype=torch.uint8, device=stream.device)
            for _ in range(_WARM_UPS):
                forward(self._images)
            with torch.cuda.graph(self._graph, pool=pool, stream=stream):
                self._logits = forward(self._images)
        before.wait_stream(stream)

    def __call__(self, images: Tensor) -> Tensor:
        """Compute the logits of a batch, in memory that no later call overwrites."""
        stream = torch.cuda.current_stream(self._images.device)
        stream.wait_event(self._idle)
        self._images.copy_(images)
        self._graph.replay()
        logits = self._logits.clone()
        self._idle.record(stream)
        return logits


def _check(graph: ForwardPass, forward: ForwardPass, shape: tuple[int, ...], device: torch.device) -> None:
    """Compare the graph with its forward pass, on other images than those that it was recorded with."""
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(device)
    expected = forward(images)
    difference = float((graph(images) - expected).norm() / expected.norm())
    if not difference <= _TOLERANCE:
        raise RuntimeError(f"its graph's logits differ by {difference:.2g} of their size")

"""SharedArrays: numbers in memory that all processes of the service share."""

import mmap
import os
import sys
import tempfile
import weakref
from collections.abc import Mapping
from math import prod
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

Layout = Mapping[str, tuple[tuple[int, ...], type[np.generic]]]
_ALIGNMENT = 64  # bytes of a cache line: processes that write different arrays don't slow each other


class SharedArrays:
    """Numpy arrays, all zero at first, in memory of the kernel that has no name in any folder.

    multiprocessing's own arrays are files in /dev/shm. Docker gives that 64 MB: a larger array lands on the disk
    without a word, and one that finds it full later ends its process with SIGBUS. Only the machine bounds this memory.

    A spawned process gets them as an argument, a forked one inherits them.

    Parameters
    ----------
    layout:
        The shape and the kind of number of each array, by its name.
    """

    def __init__(self, layout: Layout) -> None:
        if sys.platform == "linux":
            descriptor = os.memfd_create("classifier")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, sum(_room(*array) for array in layout.values()))
        self._hold(descriptor, layout)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        """The array of that name."""
        return self._arrays[name]

    def _hold(self, descriptor: int, layout: Layout) -> None:
        self._descriptor, self._layout = descriptor, layout
        weakref.finalize(self, os.close, descriptor)
        memory, offset = mmap.mmap(descriptor, 0), 0
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, (shape, kind) in layout.items():
            self._arrays[name] = np.frombuffer(memory, kind, prod(shape), offset).reshape(shape)
            offset += _room(shape, kind)

    def __getstate__(self) -> Any:
        return DupFd(self._descriptor), self._layout

    def __setstate__(self, state: Any) -> None:
        descriptor, layout = state
        self._hold(descriptor.detach(), layout)


def _room(shape: tuple[int, ...], kind: type[np.generic]) -> int:
    """Bytes from the beginning of an array to that of the next."""
    size = max(1, prod(shape)) * np.dtype(kind).itemsize
    return -(-size // _ALIGNMENT) * _ALIGNMENT

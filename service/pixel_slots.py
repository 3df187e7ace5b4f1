"""Pixels on their way to a batch, in memory that all processes of the service share.

LitServe's queue would pickle and copy them four times on the way from the HTTP process to a worker.
"""

import multiprocessing

import numpy as np

from service.images import Pixels

_SHARED_BYTES = 32 * 2**20

Place = int | Pixels
"""Where pixels are: the number of a slot, or they themselves."""


class PixelSlots:
    """Slots for one image each.

    A slot that is lost (a process was killed that had it) is missing for good: while all are taken, pixels travel
    with their request.

    Parameters
    ----------
    image_size:
        Pixels a side.
    """

    def __init__(self, image_size: int) -> None:
        self._shape = (image_size, image_size, 3)
        image_bytes = image_size * image_size * 3
        count = max(1, _SHARED_BYTES // image_bytes)
        context = multiprocessing.get_context("spawn")
        self._memory = context.RawArray("B", count * image_bytes)
        # Those that are free come first; the last of them is taken next: it may still be in the caches.
        self._numbers = context.RawArray("i", range(count))
        self._free = context.Value("i", count)

    @property
    def free(self) -> int:
        """Slots that can be taken."""
        count: int = self._free.value
        return count

    def put(self, pixels: Pixels) -> Place:
        """Copy pixels, uint8 of shape (size, size, 3), into a slot if one is free. Who gets the place frees it."""
        with self._free.get_lock():
            if self._free.value == 0:
                return pixels
            self._free.value -= 1
            slot: int = self._numbers[self._free.value]
        self._images[slot] = pixels
        return slot

    def take(self, place: Place, out: Pixels) -> None:
        """Copy the pixels to `out` and free their slot."""
        out[...] = self._images[place] if isinstance(place, int) else place
        self.discard(place)

    def discard(self, place: Place) -> None:
        """Free the slot of pixels that nobody needs."""
        if isinstance(place, int):
            with self._free.get_lock():
                self._numbers[self._free.value] = place
                self._free.value += 1

    @property
    def _images(self) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
        return np.frombuffer(self._memory, np.uint8).reshape(-1, *self._shape)

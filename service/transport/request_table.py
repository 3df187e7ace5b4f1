"""The requests in flight, in memory that all processes of the service share.

Each HTTP process has slots of its own. A request keeps one from before it is decoded until its answer is fetched:

    FREE -> ARRIVING -> QUEUED -> the process id of the worker that took it -> ANSWERED -> FREE

The slot holds first the image and then the answer. A process that is killed leaves nothing half done: each step writes
one number, only the owner of a slot moves it on, and where two processes could want the same slot they take a lock that
the kernel opens when its holder dies. The process id in a slot tells which requests a killed worker had.
"""

import os
import time
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

import numpy as np

from service.images import Pixels
from service.transport.process_lock import ProcessLock

MAX_WORKERS = 4096
_FREE, _ARRIVING, _QUEUED, _ANSWERED = 0, -1, -2, -3
_ABSENT, _WAITING, _COLLECTING, _BUSY = range(4)


class RequestTable:
    """All slots, and the state of each worker.

    Parameters
    ----------
    image_size:
        Pixels a side of the images.
    slots:
        How many requests one HTTP process may have at a time.
    processes:
        How many HTTP processes there are; their numbers start at 0.
    answer_bytes:
        The size of the largest answer.
    """

    def __init__(self, image_size: int, slots: int, processes: int, answer_bytes: int) -> None:
        self.slots, self._shape = slots, (image_size, image_size, 3)
        count, self._slot_bytes = slots * processes, max(image_size * image_size * 3, answer_bytes)
        context = get_context("spawn")
        self._shared = {
            "states": context.RawArray("q", count),
            "queued_at_s": context.RawArray("d", count),
            "answer_bytes": context.RawArray("q", count),
            "memory": context.RawArray("B", count * self._slot_bytes),
            "open": context.RawArray("b", processes),
            "workers": context.RawArray("b", MAX_WORKERS),
            "heartbeats": context.RawArray("q", MAX_WORKERS),
        }
        self._taking = ProcessLock()
        self._wakeup = context.Semaphore(0)
        self._map_arrays()

    def _map_arrays(self) -> None:
        def view(name: str, kind: type) -> np.ndarray[Any, Any]:
            return np.frombuffer(self._shared[name], kind)

        self._states, self._queued_at_s = view("states", np.int64), view("queued_at_s", np.float64)
        self._answer_bytes, self._memory = view("answer_bytes", np.int64), view("memory", np.uint8)
        self._memory = self._memory.reshape(-1, self._slot_bytes)
        self._open, self._workers = view("open", np.int8), view("workers", np.int8)
        self._heartbeats = view("heartbeats", np.int64)

    def __getstate__(self) -> dict[str, Any]:
        # Pickling an array would copy the memory that it shows.
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map_arrays()

    # An HTTP process calls these, for its own slots.

    def open(self, process: int, *, is_open: bool) -> None:
        """Say whether the HTTP process may still have requests."""
        self._open[process] = is_open

    def arrive(self, process: int) -> int | None:
        """Take a slot for a request that will soon be queued; None if no slot is free."""
        first = process * self.slots
        slot = first + int(np.argmin(self._states[first : first + self.slots] != _FREE))
        if self._states[slot] != _FREE:
            return None
        self._states[slot] = _ARRIVING
        return slot

    def queue(self, slot: int, pixels: Pixels) -> None:
        """Write the request's image, uint8 of shape (size, size, 3), into its slot, and let a worker take it."""
        self._image(slot)[...] = pixels
        self._queued_at_s[slot] = time.monotonic()
        self._publish(slot, _QUEUED)
        self._wake_one()

    def withdraw(self, slot: int) -> bool:
        """Free the slot of a request that needs no prediction any more; False if a worker has it."""
        with self._taking:
            if self._states[slot] not in (_ARRIVING, _QUEUED):
                return False
            self._states[slot] = _FREE
            return True

    def answered(self, process: int) -> list[int]:
        """List the process's slots that hold an answer."""
        return self._where(process, self._states == _ANSWERED)

    def fetch(self, slot: int) -> bytes:
        """Read the answer and free its slot."""
        answer = self._memory[slot, : self._answer_bytes[slot]].tobytes()
        self.free(slot)
        return answer

    def free(self, slot: int) -> None:
        """Free a slot that no worker will touch again."""
        self._states[slot] = _FREE

    def queued(self, process: int) -> list[int]:
        """List the process's slots that no worker has taken yet."""
        return self._where(process, self._states == _QUEUED)

    def taken(self, process: int) -> list[tuple[int, int]]:
        """List the process's slots that a worker has, each with the worker's process id."""
        states = self._states.copy()  # a worker may answer meanwhile
        return [(slot, int(states[slot])) for slot in self._where(process, states > 0)]

    def reclaim(self, slot: int, worker: int) -> bool:
        """Free a slot that a worker had when it ended; False if the worker had already answered."""
        if self._states[slot] != worker:
            return False
        self.free(slot)
        return True

    def _where(self, process: int, which: np.ndarray[Any, Any]) -> list[int]:
        first = process * self.slots
        found: list[int] = (np.flatnonzero(which[first : first + self.slots]) + first).tolist()
        return found

    # A worker calls these.

    def take(self, most: int) -> list[int]:
        """Take the requests that have waited longest, `most` at most. This process then owns their slots."""
        if not (self._states == _QUEUED).any():
            return []
        with self._taking:
            queued = np.flatnonzero(self._states == _QUEUED)
            oldest = queued[np.argsort(self._queued_at_s[queued], kind="stable")][:most]
            self._states[oldest] = os.getpid()
        taken: list[int] = oldest.tolist()
        return taken

    def queued_at_s(self, slot: int) -> float:
        """Read `time.monotonic()` of when the request was queued; all processes of a machine share this clock."""
        return float(self._queued_at_s[slot])

    def copy_images(self, slots: Sequence[int]) -> Pixels:
        """Copy the images of requests: uint8 of shape (n, size, size, 3)."""
        images = np.empty((len(slots), *self._shape), np.uint8)
        for slot, image in zip(slots, images, strict=True):
            image[...] = self._image(slot)
        return images

    def answer(self, slot: int, answer: bytes) -> int:
        """Write the answer into its request's slot. Returns the number of the HTTP process that waits for it.

        Raises
        ------
        ValueError
            When the answer is larger than a slot.
        """
        if len(answer) > self._slot_bytes:
            raise ValueError(f"an answer of {len(answer):,} bytes; there is room for {self._slot_bytes:,}")
        self._memory[slot, : len(answer)] = np.frombuffer(answer, np.uint8)
        self._answer_bytes[slot] = len(answer)
        self._publish(slot, _ANSWERED)
        return slot // self.slots

    def collect(self, worker: int) -> None:
        """Note that the worker collects its next batch. This is its heartbeat."""
        self._heartbeats[worker] += 1
        self._workers[worker] = _COLLECTING

    def wait(self, worker: int, timeout_s: float) -> None:
        """Sleep until a request is queued, or until the time is over."""
        self._workers[worker] = _WAITING
        # A request that was queued before we set WAITING did not release the semaphore: check again before sleeping.
        if not (self._states == _QUEUED).any():
            self._wakeup.acquire(timeout=timeout_s)
        self._workers[worker] = _COLLECTING

    def work(self, worker: int) -> None:
        """Note that the worker has its batch, and wake another worker for the requests that it left."""
        self._workers[worker] = _BUSY
        if (self._states == _QUEUED).any():
            self._wake_one()

    def leave(self, worker: int) -> None:
        """Note that the worker has ended."""
        self._workers[worker] = _ABSENT

    def _publish(self, slot: int, state: int) -> None:
        # The lock call is a memory barrier: no core sees the new state before the data that it describes.
        with self._taking:
            self._states[slot] = state

    def _wake_one(self) -> None:
        if (self._workers == _WAITING).any():
            self._wakeup.release()

    # Every process may call these.

    @property
    def is_open(self) -> bool:
        """Whether an HTTP process may still have requests."""
        return bool(self._open.any())

    @property
    def in_sight(self) -> int:
        """How many requests are in no batch yet."""
        return int(np.count_nonzero((self._states == _ARRIVING) | (self._states == _QUEUED)))

    @property
    def free_workers(self) -> int:
        """How many workers could take a batch now."""
        return int(np.count_nonzero((self._workers == _WAITING) | (self._workers == _COLLECTING)))

    @property
    def any_worker_present(self) -> bool:
        """Whether a worker has begun to wait for its first batch."""
        return bool(self._workers.any())

    def heartbeats(self, worker: int) -> int | None:
        """How often the worker has begun to collect a batch; None if it has ended, or has not begun yet."""
        return int(self._heartbeats[worker]) if self._workers[worker] != _ABSENT else None

    def _image(self, slot: int) -> Pixels:
        return self._memory[slot, : self._shape[0] * self._shape[1] * 3].reshape(self._shape)

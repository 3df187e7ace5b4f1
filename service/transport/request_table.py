"""The requests in flight, in memory that all processes of the service share.

A request keeps a slot from before it is decoded until its answer is fetched:

    FREE -> ARRIVING -> QUEUED -> the process id of the worker that took it -> ANSWERED or FAILED -> FREE

The slot has room for the image and for the answer: the probabilities, and the batch's stages. An HTTP process that
takes a slot notes its number there. A process that is killed leaves nothing half done: each step writes one number,
only the owner of a slot moves it on, and where two processes could want the same slot they take a lock that the kernel
opens when its holder dies. The process id in a slot tells which requests a killed worker had.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from service.images import Pixels
from service.predictions import Probabilities
from service.stages import BatchStages
from service.transport.process_lock import ProcessLock
from service.transport.shared_arrays import SharedArrays

_FREE, _ARRIVING, _QUEUED, _ANSWERED, _FAILED = 0, -1, -2, -3, -4
_ABSENT, _WAITING, _COLLECTING, _BUSY = range(4)


@dataclass(frozen=True)
class Answer:
    """An answer as an HTTP process finds it.

    Attributes
    ----------
    slot:
        The slot that its request had.
    probabilities:
        float32 of shape (labels,); None if the prediction has failed.
    queued_at_s:
        `time.monotonic()` when its image was written there.
    stages:
        The numbers of its batch's stages, see `BatchStages.from_numbers`; they mean nothing if the prediction failed.
    """

    slot: int
    probabilities: Probabilities | None
    queued_at_s: float
    stages: Sequence[float]


class RequestTable:
    """All slots, and the state of each worker.

    Parameters
    ----------
    image_size:
        Width and height of the images in pixels.
    slots:
        The most requests that all HTTP processes together may have at a time.
    processes:
        The number of HTTP processes, which are numbered from 0.
    labels:
        The number of labels in an answer.
    devices, workers_per_device:
        The numbers of both. Worker n computes on device n modulo `devices`, and one that is replaced keeps its number.
    """

    def __init__(
        self, image_size: int, slots: int, processes: int, labels: int, *, devices: int, workers_per_device: int
    ) -> None:
        self._devices, workers = devices, devices * workers_per_device
        self._shared = SharedArrays(
            {
                "states": ((slots,), np.int64),
                "owners": ((slots,), np.int64),
                "queued_at_s": ((slots,), np.float64),
                "images": ((slots, image_size, image_size, 3), np.uint8),
                "probabilities": ((slots, labels), np.float32),
                "stages": ((slots, BatchStages.NUMBERS), np.float64),
                "open": ((processes,), np.int8),
                "workers": ((workers,), np.int8),
                "is_woken": ((workers,), np.bool_),
                "worked_at_s": ((workers,), np.float64),
                "heartbeats": ((workers,), np.int64),
                "batches": ((workers,), np.int64),
            }
        )
        self._taking = ProcessLock()
        self._wakeups = [get_context("spawn").Semaphore(0) for _ in range(workers)]
        self._map_arrays()

    def _map_arrays(self) -> None:
        shared = self._shared
        self._states, self._owners, self._queued_at_s = shared["states"], shared["owners"], shared["queued_at_s"]
        self._images, self._probabilities, self._stages = shared["images"], shared["probabilities"], shared["stages"]
        self._open, self._workers = shared["open"], shared["workers"]
        self._is_woken, self._worked_at_s = shared["is_woken"], shared["worked_at_s"]
        self._heartbeats, self._batches = shared["heartbeats"], shared["batches"]

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
        with self._taking:
            slot = int(np.argmin(self._states != _FREE))
            if self._states[slot] != _FREE:
                return None
            self._owners[slot] = process
            self._states[slot] = _ARRIVING
        return slot

    def queue(self, slot: int, pixels: Pixels) -> None:
        """Write the request's image, uint8 of shape (size, size, 3), into its slot, and let a worker take it."""
        self._images[slot] = pixels
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

    def fetch(self, process: int) -> list[Answer]:
        """Read all answers to the process's requests, and free their slots."""
        slots = self._where(process, (self._states == _ANSWERED) | (self._states == _FAILED))
        answers = [
            Answer(slot, None if failed else probabilities, queued_at_s, stages)
            for slot, failed, probabilities, queued_at_s, stages in zip(
                slots,
                (self._states[slots] == _FAILED).tolist(),
                self._probabilities[slots],
                self._queued_at_s[slots].tolist(),
                self._stages[slots].tolist(),
                strict=True,
            )
        ]
        self._states[slots] = _FREE
        return answers

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
        found: list[int] = np.flatnonzero(which & (self._owners == process)).tolist()
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
        images = np.empty((len(slots), *self._images.shape[1:]), np.uint8)
        for slot, image in zip(slots, images, strict=True):
            image[...] = self._images[slot]
        return images

    def answer(self, slots: Sequence[int], probabilities: Probabilities, stages: BatchStages) -> None:
        """Answer the requests of a batch: float32 of shape (n, labels), a row for each in the order of `slots`.

        Raises
        ------
        ValueError
            When the probabilities have another shape. No request is answered then.
        """
        if probabilities.shape != (expected := (len(slots), self._probabilities.shape[1])):
            raise ValueError(f"answers of shape {probabilities.shape} to a batch that needs {expected}")
        self._probabilities[slots] = probabilities
        self._stages[slots] = stages.to_numbers()
        self._publish(slots, _ANSWERED)

    def fail(self, slots: Sequence[int]) -> None:
        """Answer the requests of a batch whose prediction has failed."""
        self._publish(slots, _FAILED)

    def owners(self, slots: Sequence[int]) -> set[int]:
        """Tell which HTTP processes wait for these requests, by their numbers."""
        return set(self._owners[slots].tolist())

    def collect(self, worker: int) -> None:
        """Note that the worker collects its next batch. This is its heartbeat."""
        if self._workers[worker] == _BUSY:
            self._batches[worker] += 1
        self._heartbeats[worker] += 1
        self._workers[worker] = _COLLECTING

    def wait(self, worker: int, timeout_s: float) -> None:
        """Sleep until a request is queued, or until the time is over."""
        with self._taking:
            self._is_woken[worker] = False
            self._workers[worker] = _WAITING
        # A request that was queued before we set WAITING did not release the semaphore: check again before sleeping.
        if not (self._states == _QUEUED).any():
            self._wakeups[worker].acquire(timeout=timeout_s)
        self._workers[worker] = _COLLECTING

    def work(self, worker: int) -> None:
        """Note that the worker has its batch, and wake another worker for the requests that it left."""
        self._workers[worker] = _BUSY
        self._worked_at_s[worker] = time.monotonic()
        self._wake_one()

    def rouse(self, worker: int) -> None:
        """End the worker's sleep, or its next one. A signal handler may call this: it takes no lock."""
        self._wakeups[worker].release()

    def leave(self, worker: int) -> None:
        """Note that the worker has ended, and wake another for what it may have been woken for."""
        self._workers[worker] = _ABSENT
        self._batches[worker], self._worked_at_s[worker] = 0, 0.0
        self._wake_one()

    def _publish(self, slots: int | Sequence[int], state: int) -> None:
        # The lock call is a memory barrier: no core sees the new state before the data that it describes.
        with self._taking:
            self._states[slots] = state

    def _wake_one(self) -> None:
        """If a request is queued, wake a worker of the device with the fewest awake: the one that worked last.

        That one's model is still in the caches, so a lone request is answered sooner.
        """
        with self._taking:
            is_asleep = (self._workers == _WAITING) & ~self._is_woken
            asleep = np.flatnonzero(is_asleep)
            if not asleep.size or not (self._states == _QUEUED).any():
                return
            awake = np.flatnonzero(~is_asleep & (self._workers != _ABSENT))
            awake_on_device = np.bincount(awake % self._devices, minlength=self._devices)
            worker = asleep[np.lexsort((-self._worked_at_s[asleep], awake_on_device[asleep % self._devices]))[0]]
            self._is_woken[worker] = True  # the next request wakes another
            # Not after the lock: of a process that is killed between the two, the worker would wait in vain.
            self._wakeups[worker].release()

    # Every process may call these.

    @property
    def is_open(self) -> bool:
        """Whether an HTTP process may still have requests."""
        return bool(self._open.any())

    @property
    def is_empty(self) -> bool:
        """Whether no HTTP process has a request, nor a slot that a late answer will free."""
        return not self._states.any()

    @property
    def in_sight(self) -> int:
        """The number of requests that are not in a batch yet."""
        return int(np.count_nonzero((self._states == _ARRIVING) | (self._states == _QUEUED)))

    @property
    def free_workers(self) -> int:
        """The number of workers that could take a batch now."""
        return int(np.count_nonzero((self._workers == _WAITING) | (self._workers == _COLLECTING)))

    @property
    def any_worker_present(self) -> bool:
        """Whether a worker has begun to wait for its first batch."""
        return bool(self._workers.any())

    def is_present(self, worker: int) -> bool:
        """Whether the worker has begun to wait for its first batch, and has not ended."""
        return bool(self._workers[worker] != _ABSENT)

    def heartbeats(self, worker: int) -> int | None:
        """Count how often the worker has begun to collect a batch.

        None if it has ended, has not begun yet, or sleeps and has nothing to wake up for.
        """
        is_asleep = self._workers[worker] == _WAITING and not self._is_woken[worker]
        return None if is_asleep or self._workers[worker] == _ABSENT else int(self._heartbeats[worker])

    def batches(self, worker: int) -> int:
        """Count the batches that the worker has completed since it started; read it before `leave`."""
        return int(self._batches[worker])

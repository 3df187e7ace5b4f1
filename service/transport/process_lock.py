"""ProcessLock: a lock between processes that opens when the process that holds it is killed."""

import fcntl
import os
import tempfile
import weakref
from multiprocessing.reduction import DupFd
from types import TracebackType
from typing import Any


class ProcessLock:
    """A lock of the kernel on a file, which it opens when the holder ends. A semaphore would stay closed for ever.

    Each process may use it from one thread only. A spawned process gets it as an argument, a forked one inherits it.
    """

    def __init__(self) -> None:
        # The file has no name in any folder, so nothing stays behind.
        with tempfile.TemporaryFile() as file:
            self._hold(os.dup(file.fileno()))

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def __getstate__(self) -> Any:
        return DupFd(self._descriptor)

    def __setstate__(self, descriptor: Any) -> None:
        self._hold(descriptor.detach())

"""A lock between processes that none of them can take with it when it is killed."""

import fcntl
import os
import tempfile
from multiprocessing.reduction import DupFd
from types import TracebackType
from typing import Any


class ProcessLock:
    """The kernel opens it when its holder ends, however that ends; a semaphore would stay closed for good.

    Each process may use it from one thread only. A spawned process gets it as an argument, a forked one inherits it.
    """

    def __init__(self) -> None:
        # A name that nobody else knows, and gone from the folder at once: nothing is left of it.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (open for as long as the lock lives)

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __getstate__(self) -> Any:
        return DupFd(self._file.fileno())

    def __setstate__(self, descriptor: Any) -> None:
        self._file = os.fdopen(descriptor.detach(), "wb")

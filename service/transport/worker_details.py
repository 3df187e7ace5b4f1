"""The workers report how they run the model, for `/info` in the HTTP processes."""

import json
from collections.abc import Mapping
from multiprocessing import get_context
from textwrap import shorten

from service.transport.process_lock import ProcessLock

_ROOM_BYTES = 8_192
_LONGEST_FAILURE = 600  # characters, each of which JSON may write as twelve bytes


class WorkerDetails:
    """A worker's account in memory that all processes of the service share; empty until a worker is ready."""

    def __init__(self) -> None:
        self._document = get_context("spawn").RawArray("c", _ROOM_BYTES)
        self._lock = ProcessLock()

    def tell(self, details: Mapping[str, object]) -> None:
        """Say how this process's worker runs. A worker with a `fallback` isn't hidden by others without."""
        with self._lock:
            if not self._read().get("fallback"):
                self._document.value = json.dumps(details).encode()

    def tell_failure(self, reason: str) -> None:
        """Say why this process's worker can't load the model, for the main process."""
        with self._lock:
            self._document.value = json.dumps({"failure": shorten(reason, _LONGEST_FAILURE)}).encode()

    def read(self) -> dict[str, object]:
        """Read what the workers say."""
        with self._lock:
            return self._read()

    def _read(self) -> dict[str, object]:
        details: dict[str, object] = json.loads(self._document.value or b"{}")
        return details

"""The workers report how they run the model, for `/info` in the HTTP processes."""

import json
from collections.abc import Mapping
from multiprocessing import get_context

from service.transport.process_lock import ProcessLock

_ROOM_BYTES = 8_192


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

    def read(self) -> dict[str, object]:
        """Read what the workers say."""
        with self._lock:
            return self._read()

    def _read(self) -> dict[str, object]:
        details: dict[str, object] = json.loads(self._document.value or b"{}")
        return details

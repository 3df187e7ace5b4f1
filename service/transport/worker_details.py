"""The workers report how they run the model, for `/info` in the HTTP processes."""

import json
from collections.abc import Mapping
from textwrap import shorten

import numpy as np

from service.transport.process_lock import ProcessLock
from service.transport.shared_arrays import SharedArrays

_ROOM_BYTES = 8_192
_LONGEST_FAILURE = 600  # characters, each of which JSON may write as twelve bytes


class WorkerDetails:
    """A worker's account in memory that all processes of the service share; empty until a worker is ready."""

    def __init__(self) -> None:
        self._document = SharedArrays({"json": ((_ROOM_BYTES,), np.uint8)})
        self._lock = ProcessLock()

    def tell(self, details: Mapping[str, object]) -> None:
        """Say how this process's worker runs. A worker with a `fallback` isn't hidden by others without."""
        with self._lock:
            if not self._read().get("fallback"):
                self._write(details)

    def tell_failure(self, reason: str) -> None:
        """Say why this process's worker can't load the model, unless another one has: then the server runs."""
        with self._lock:
            if not self._read():
                self._write({"failure": shorten(reason, _LONGEST_FAILURE)})

    def read(self) -> dict[str, object]:
        """Read what the workers say."""
        with self._lock:
            return self._read()

    def _write(self, details: Mapping[str, object]) -> None:
        self._document["json"][:] = np.frombuffer(json.dumps(details).encode().ljust(_ROOM_BYTES), np.uint8)

    def _read(self) -> dict[str, object]:
        written = self._document["json"].tobytes().strip(b"\0 ")
        details: dict[str, object] = json.loads(written or b"{}")
        return details

"""The log of a process that is measured: a file whose end goes into messages."""

import tempfile
from pathlib import Path

_LINES_SHOWN = 25
_BYTES_READ = 8_192
_MAX_BYTES = 50_000_000


class ProcessLog:
    """A new file in a folder.

    Attributes
    ----------
    descriptor:
        To write to; whoever starts the process closes it.
    """

    def __init__(self, folder: Path) -> None:
        self.descriptor, path = tempfile.mkstemp(prefix="process-", suffix=".log", dir=folder)
        self._path = Path(path)

    def tail(self) -> str:
        """The last lines; empty when it has been removed."""
        if not self._path.exists():
            return ""
        with self._path.open("rb") as log:
            log.seek(max(0, self._path.stat().st_size - _BYTES_READ))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LINES_SHOWN:])

    @property
    def is_too_long(self) -> bool:
        """Whether writing it costs what a service shouldn't spend, and soon the disk."""
        return self._path.exists() and self._path.stat().st_size > _MAX_BYTES

    def remove(self) -> None:
        """Remove the file; can be called again."""
        self._path.unlink(missing_ok=True)

"""The log of a measured process: a file whose end appears in messages."""

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
        The file descriptor to write to; the caller that starts the process must close it.
    """

    def __init__(self, folder: Path) -> None:
        self.descriptor, path = tempfile.mkstemp(prefix="process-", suffix=".log", dir=folder)
        self._path = Path(path)

    def tail(self) -> str:
        """Return the last lines; empty if the file has been removed."""
        if not self._path.exists():
            return ""
        with self._path.open("rb") as log:
            log.seek(max(0, self._path.stat().st_size - _BYTES_READ))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LINES_SHOWN:])

    @property
    def is_too_long(self) -> bool:
        """Whether the log is so long that writing it takes much CPU time and soon fills the disk."""
        return self._path.exists() and self._path.stat().st_size > _MAX_BYTES

    def remove(self) -> None:
        """Remove the file. It is safe to call this twice."""
        self._path.unlink(missing_ok=True)

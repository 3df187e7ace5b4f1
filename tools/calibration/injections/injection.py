"""The interface of what is injected into a copy of the service."""

import hashlib
from pathlib import Path
from typing import Protocol


class Injection(Protocol):
    """Code of known effect."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of cells that it may reach."""

    @property
    def digest(self) -> str:
        """A hash that tells it from another of the same name in an older record."""

    def inject(self, folder: Path) -> None:
        """Append its code to a file in a copy of the project."""


def digest_of(text: str) -> str:
    """A short hash of an injection's text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""A cell, and a checkout that it is measured of."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, order=True)
class Cell:
    """One thing measured, as in `api[concurrency=8]` or `photo[kind=phone]`."""

    group: str
    parameter: str
    value: int | str

    def __str__(self) -> str:
        return f"{self.group}[{self.parameter}={self.value}]"

    @property
    def setting_name(self) -> str:
        """Its name in settings and allowances, as in `api[64]`."""
        return f"{self.group}[{self.value}]"


@dataclass(frozen=True)
class Checkout:
    """One of two checkouts that are compared side by side.

    Attributes
    ----------
    name:
        `base` or `head`.
    folder:
        Its processes run here.
    python:
        The interpreter of its environment.
    environment:
        Variables of its processes, on top of what the target sets. A PYTHONPATH among them leads theirs.
    repository:
        The folder with all files of its repository, where the project is a folder in it; None for the project's own.
    """

    name: str
    folder: Path
    python: str
    environment: Mapping[str, str] = field(default_factory=dict)
    repository: Path | None = None

    @property
    def top(self) -> Path:
        """The folder that all files of the checkout lie in."""
        return self.repository or self.folder

    @classmethod
    def working_tree(cls, folder: Path) -> "Checkout":
        """The files as they are now, run by this process's interpreter."""
        return cls("head", folder, sys.executable)

"""Let a checkout's processes find its code: its interpreter in the command, and its folders first on the path."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from servegate.records import Checkout

_PATH = "PYTHONPATH"
_PYTHON = "{python}"


def fill_python(command: Sequence[str], checkout: Checkout) -> list[str]:
    """The command with the checkout's interpreter in the place of `{python}`."""
    return [argument.replace(_PYTHON, checkout.python) for argument in command]


def names_python(command: Sequence[str]) -> bool:
    """Whether the command runs the checkout's interpreter."""
    return any(_PYTHON in argument for argument in command)


def code_folders(folder: Path) -> tuple[Path, ...]:
    """The folders of a project that hold its top-level packages and modules: its own, and `src` if there is one."""
    source = folder / "src"
    return (folder, source) if source.is_dir() else (folder,)


def make_environment(checkout: Checkout, given: Mapping[str, str]) -> dict[str, str]:
    """Variables of a checkout's process, on top of this process's own.

    Its PYTHONPATH begins with the checkout's folder and its `src`, so that an editable install of the project, or
    another checkout on the PYTHONPATH, doesn't take the place of the checkout's code.

    Parameters
    ----------
    given:
        The variables that the target sets. A PYTHONPATH among them replaces this process's.
    """
    path = [
        checkout.environment.get(_PATH),
        *map(str, code_folders(checkout.folder.absolute())),
        given.get(_PATH, os.environ.get(_PATH)),
    ]
    return {**given, **checkout.environment, _PATH: os.pathsep.join(filter(None, path))}

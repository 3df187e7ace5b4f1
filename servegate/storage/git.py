"""git, run in a folder."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from servegate.errors import CheckoutError

# What `git rev-parse --verify --quiet` ends with for a name that it doesn't know.
NOT_FOUND = 1


class GitFailedError(CheckoutError):
    """git has ended with a status that isn't 0."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


# Variables by which a hook tells git about its own repository, which may be another than the one that is measured.
_REPOSITORY_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)


def run_git(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run git in a folder, and return its output without the last line break; errors as in `run_git_bytes`."""
    return run_git_bytes(root, *arguments, environment=environment).decode(errors="surrogateescape").rstrip("\n")


def run_git_bytes(root: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
    """Run git in a folder, and return its output.

    Parameters
    ----------
    environment:
        Variables on top of this process's, which loses those that name a repository.

    Raises
    ------
    GitFailedError
        When it ends with a status that isn't 0; the message has what it said.
    CheckoutError
        Where git is not installed.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    env = {**inherited, **(environment or {})}
    try:
        result = subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, check=True)
    except FileNotFoundError:
        raise CheckoutError("git is not installed; it says which commit is measured") from None
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise GitFailedError(f"git {' '.join(arguments)} failed in {root}: {message}", error.returncode) from None
    return result.stdout

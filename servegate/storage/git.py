"""git, run in a folder."""

import subprocess
from pathlib import Path

from servegate.errors import CheckoutError

# What `git rev-parse --verify --quiet` ends with for a name that it doesn't know.
NOT_FOUND = 1


class GitFailedError(CheckoutError):
    """git has ended with a status that isn't 0."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def run_git(root: Path, *arguments: str) -> str:
    """Run git in a folder, and return its output without the last line break; errors as in `run_git_bytes`."""
    return run_git_bytes(root, *arguments).decode(errors="surrogateescape").rstrip("\n")


def run_git_bytes(root: Path, *arguments: str) -> bytes:
    """Run git in a folder, and return its output.

    Raises
    ------
    GitFailedError
        When it ends with a status that isn't 0; the message has what it said.
    CheckoutError
        Where git is not installed.
    """
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except FileNotFoundError:
        raise CheckoutError("git is not installed; it says which commit is measured") from None
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise GitFailedError(f"git {' '.join(arguments)} failed in {root}: {message}", error.returncode) from None
    return result.stdout

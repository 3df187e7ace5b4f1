"""The commit that is measured, as git and the lock file identify it."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import CheckoutError


@dataclass(frozen=True)
class CheckoutId:
    """What makes two checkouts the same to the gate.

    Attributes
    ----------
    commit:
        Full hash.
    service_tree:
        git's hash of the service's folder: equal when the code is, whatever the commit.
    lock_sha256:
        Of the file that pins the packages.
    """

    commit: str
    service_tree: str
    lock_sha256: str


def identify(root: Path, service: str, lock: str) -> CheckoutId:
    """Identify HEAD of the checkout at `root`.

    Raises
    ------
    CheckoutError
        Without git, a commit, the service's folder in it, or the lock file.
    """
    try:
        lock_sha256 = hashlib.sha256((root / lock).read_bytes()).hexdigest()
    except OSError as error:
        raise CheckoutError(f"the lock file {lock} can't be read: {error.strerror}") from None
    # With ./ git looks from `root` on, which may be a folder of a larger repository.
    return CheckoutId(_git(root, "rev-parse", "HEAD"), _git(root, "rev-parse", f"HEAD:./{service}"), lock_sha256)


def require_clean(root: Path, allowed: Path) -> None:
    """Refuse a working tree with changes outside one folder.

    Raises
    ------
    CheckoutError
        With the changed files.
    """
    top = Path(_git(root, "rev-parse", "--show-toplevel"))
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    changed = [entry[3:] for entry in status.split("\0") if entry]
    outside = [name for name in changed if not (top / name).is_relative_to(allowed.resolve())]
    if outside:
        shown = ", ".join(outside[:5]) + (" …" if len(outside) > 5 else "")
        raise CheckoutError(
            f"a baseline belongs to a commit, but the working tree has changes: {shown}. Commit or stash them first"
        )


def _git(root: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise CheckoutError("git is not installed; it says which commit is measured") from None
    except subprocess.CalledProcessError as error:
        raise CheckoutError(f"git {' '.join(arguments)} failed in {root}: {error.stderr.strip()}") from None
    return result.stdout.rstrip("\n")

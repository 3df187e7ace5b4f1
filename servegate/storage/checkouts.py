"""The commit that is measured, and another one put beside it: its files in a folder, its environment."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from servegate.errors import CheckoutError
from servegate.processes.guard import guard

# What `git rev-parse --verify --quiet` ends with for a name that it doesn't know.
_NOT_FOUND = 1


class _GitFailedError(CheckoutError):
    """git has ended with a status that isn't 0."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class CommitIdentity:
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


def identify(root: Path, service: str, lock: str) -> CommitIdentity:
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
    return CommitIdentity(_git(root, "rev-parse", "HEAD"), _git(root, "rev-parse", f"HEAD:./{service}"), lock_sha256)


def read_head(root: Path) -> tuple[str | None, bool]:
    """HEAD's full hash, and whether the working tree differs from it; (None, False) where git can't say."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain"))
    except CheckoutError:
        return None, False


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


def find_equivalent(root: Path, wanted: CommitIdentity, service: str, lock: str) -> str:
    """The commit itself, or after a squash merge a reachable one with the same service and lock file.

    Raises
    ------
    CheckoutError
        When there is neither.
    """
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{wanted.commit}^{{commit}}")
    except _GitFailedError as error:
        if error.status != _NOT_FOUND:
            raise
        candidates = _git(root, "rev-list", "--all", "--", service, lock).split()
    for commit in candidates:
        try:
            tree = _git(root, "rev-parse", "--verify", "--quiet", f"{commit}:./{service}")
            content = _git_bytes(root, "show", f"{commit}:./{lock}")
        except _GitFailedError:
            continue  # the commit has no such folder or file
        if tree == wanted.service_tree and hashlib.sha256(content).hexdigest() == wanted.lock_sha256:
            return commit
    raise CheckoutError(
        f"the baseline's commit {wanted.commit[:12]} is not here, nor one with the same {service}/ and {lock}; "
        "a shallow clone lacks older ones: git fetch --unshallow"
    )


def resolve_commit(root: Path, reference: str) -> str:
    """The full hash of a branch, tag or commit.

    Raises
    ------
    CheckoutError
        When there is no such commit here.
    """
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    except _GitFailedError as error:
        if error.status != _NOT_FOUND:
            raise
        raise CheckoutError(
            f"there is no commit {reference!r} in {root}; a shallow clone lacks older ones: git fetch --unshallow"
        ) from None


@contextmanager
def export_commit(root: Path, reference: str) -> Iterator[Path]:
    """A commit's files in a temporary folder of their own; nothing is written to `.git`.

    Parameters
    ----------
    root:
        The checkout that has the commit.
    reference:
        A branch, tag or commit.

    Raises
    ------
    CheckoutError
        When there is no such commit here, or no room for its files.
    """
    commit = resolve_commit(root, reference)
    with tempfile.TemporaryDirectory(prefix="commit-", dir=guard().folder) as folder:
        archive = Path(folder) / "commit.tar"
        files = Path(folder) / "files"
        _git(root, "archive", f"--output={archive}", commit)
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(files, filter="data")
        except OSError as error:
            raise CheckoutError(f"{reference} can't be put into {files}: {error.strerror}") from None
        archive.unlink()
        yield files


def environment_python(root: Path, base: Path, lock: str, *, same: bool) -> str:
    """The interpreter that the base runs with: this one if the lock files are alike, else one of its own.

    An environment is built once and kept under the user's cache folder by its lock file's hash.

    Parameters
    ----------
    root, base:
        The two checkouts.
    lock:
        Name of the lock file in both.
    same:
        Share this environment whatever the lock files say.

    Raises
    ------
    CheckoutError
        When the base has no lock file or its packages can't be installed.
    """
    base_lock = base / lock
    if same or (base_lock.exists() and base_lock.read_bytes() == (root / lock).read_bytes()):
        return sys.executable
    if not base_lock.exists():
        raise CheckoutError(f"the base has no {lock}; share this environment with --perf-same-env")
    folder = user_cache_path("servegate") / hashlib.sha256(base_lock.read_bytes()).hexdigest()[:16]
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if not complete.exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(base_lock)],
        ):
            env = {**os.environ, **guard().environment}
            result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise CheckoutError(f"the base's environment can't be built: {result.stderr.strip()[-500:]}")
        complete.touch()
    return str(python)


def _git(root: Path, *arguments: str) -> str:
    return _git_bytes(root, *arguments).decode(errors="surrogateescape").rstrip("\n")


def _git_bytes(root: Path, *arguments: str) -> bytes:
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True)
    except FileNotFoundError:
        raise CheckoutError("git is not installed; it says which commit is measured") from None
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise _GitFailedError(f"git {' '.join(arguments)} failed in {root}: {message}", error.returncode) from None
    return result.stdout

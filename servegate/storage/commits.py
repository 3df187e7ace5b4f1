"""The commit that is measured, and another one's files put beside it."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servegate.errors import CheckoutError
from servegate.processes.guard import guard
from servegate.storage.git import NOT_FOUND, GitFailedError, run_git, run_git_bytes


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
    return CommitIdentity(
        run_git(root, "rev-parse", "HEAD"), run_git(root, "rev-parse", f"HEAD:./{service}"), lock_sha256
    )


def read_head(root: Path) -> tuple[str | None, bool]:
    """HEAD's full hash, and whether the working tree differs from it; (None, False) where git can't say."""
    try:
        commit = run_git(root, "rev-parse", "HEAD")
        return commit, bool(run_git(root, "status", "--porcelain"))
    except CheckoutError:
        return None, False


def require_clean(root: Path, allowed: Path) -> None:
    """Refuse a working tree with changes outside one folder.

    Raises
    ------
    CheckoutError
        With the changed files.
    """
    top = Path(run_git(root, "rev-parse", "--show-toplevel"))
    status = run_git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
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
        return run_git(root, "rev-parse", "--verify", "--quiet", f"{wanted.commit}^{{commit}}")
    except GitFailedError as error:
        if error.status != NOT_FOUND:
            raise
        candidates = run_git(root, "rev-list", "--all", "--", service, lock).split()
    for commit in candidates:
        try:
            tree = run_git(root, "rev-parse", "--verify", "--quiet", f"{commit}:./{service}")
            content = run_git_bytes(root, "show", f"{commit}:./{lock}")
        except GitFailedError:
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
        return run_git(root, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    except GitFailedError as error:
        if error.status != NOT_FOUND:
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
        When there is no such commit here, or git can't write its files, as on a full disk.
    """
    # With ./ git looks from `root` on, which may be a folder of a larger repository.
    tree = run_git(root, "rev-parse", f"{resolve_commit(root, reference)}:./")
    top = Path(run_git(root, "rev-parse", "--show-toplevel"))
    with tempfile.TemporaryDirectory(prefix="commit-", dir=guard().folder) as folder:
        files = Path(folder) / "files"
        files.mkdir()
        # An index of its own leaves the repository's alone. `git archive` would leave out what is marked export-ignore,
        # and tar files need care with links that lead out of the folder.
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        run_git(top, "read-tree", tree, environment=index)
        run_git(top, "checkout-index", "--all", f"--prefix={files}/", environment=index)
        yield files

"""The commit that is measured, and the one that it is compared with."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from servegate.errors import CheckoutError
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
        The hash of the file that pins the packages; the hash of nothing if there is none.
    """

    commit: str
    service_tree: str
    lock_sha256: str


def identify(root: Path, service: str, lock: str) -> CommitIdentity:
    """Identify HEAD of the checkout at `root`.

    Raises
    ------
    CheckoutError
        Without git, a commit or the service's folder in it, or with a lock file that can't be read.
    """
    try:
        pins = (root / lock).read_bytes() if lock and (root / lock).exists() else b""
    except OSError as error:
        raise CheckoutError(f"the lock file {lock} can't be read: {error.strerror}") from None
    # With ./ git looks from `root` on, which may be a folder of a larger repository.
    return CommitIdentity(
        run_git(root, "rev-parse", "HEAD"),
        run_git(root, "rev-parse", f"HEAD:./{service}"),
        hashlib.sha256(pins).hexdigest(),
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
        candidates = run_git(root, "rev-list", "--all", "--", service, *filter(None, [lock])).split()
    for commit in candidates:
        try:
            tree = run_git(root, "rev-parse", "--verify", "--quiet", f"{commit}:./{service}")
        except GitFailedError:
            continue  # the commit has no such folder
        if (
            tree == wanted.service_tree
            and hashlib.sha256(_pins_of(root, commit, lock)).hexdigest() == wanted.lock_sha256
        ):
            return commit
    raise CheckoutError(
        f"the baseline's commit {wanted.commit[:12]} is not here, nor one with the same {service}/ and {lock}; "
        "a shallow clone lacks older ones: git fetch --unshallow"
    )


def _pins_of(root: Path, commit: str, lock: str) -> bytes:
    try:
        return run_git_bytes(root, "show", f"{commit}:./{lock}") if lock else b""
    except GitFailedError:
        return b""  # the commit has no such file


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


def has_path(root: Path, commit: str, path: Path) -> bool:
    """Whether a commit that is here has a file or folder, named from `root`."""
    try:
        run_git(root, "cat-file", "-e", f"{commit}:./{path.as_posix()}")
    except GitFailedError:
        return False
    return True

"""The commit that was accepted last, on whatever machine: what to compare with where this machine has no figures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servegate.storage.baselines import read_checkout
from servegate.storage.commits import CommitIdentity, find_equivalent
from servegate.storage.git import run_git, run_git_bytes


@dataclass(frozen=True)
class AcceptedCommit:
    """A commit whose figures were accepted as a baseline.

    Attributes
    ----------
    commit:
        Full hash.
    machine_class:
        The class of machine that measured it.
    commits_since:
        The number of commits that HEAD is ahead of it.
    """

    commit: str
    machine_class: str
    commits_since: int

    def __str__(self) -> str:
        commits = f"{self.commits_since} commit{'' if self.commits_since == 1 else 's'}"
        return f"{self.commit[:12]}, {commits} before HEAD, accepted on {self.machine_class}"


def find_accepted(root: Path, baselines: Path, service: str, lock: str) -> AcceptedCommit | None:
    """Find the commit of the newest baseline that HEAD's history has, of any class of machine.

    Parameters
    ----------
    root:
        The project.
    baselines:
        Its folder of baselines.
    service, lock:
        See `find_equivalent`: after a squash merge, a commit with the same service and lock file stands in.

    Returns
    -------
    AcceptedCommit or None
        None where no baseline was ever committed.

    Raises
    ------
    CheckoutError
        Without git, or when the commit isn't in this clone; the message has the command that helps.
    """
    top = Path(run_git(root, "rev-parse", "--show-toplevel"))
    if not baselines.resolve().is_relative_to(top.resolve()):
        return None
    kept = set(run_git(root, "ls-tree", "-r", "-z", "--full-tree", "--name-only", "HEAD").split("\0"))
    for stored_in, paths in _stored_baselines(root, baselines):
        found = [_read(root, f"{stored_in}:{path}") for path in paths if path in kept]
        accepted = [
            AcceptedCommit(commit, machine_class, int(run_git(root, "rev-list", "--count", f"{commit}..HEAD")))
            for machine_class, checkout in filter(None, found)
            for commit in [find_equivalent(root, checkout, service, lock)]
        ]
        if accepted:
            # One commit may store several classes, as the first of a shallow clone has all.
            return min(accepted, key=lambda one: one.commits_since)
    return None


def _read(root: Path, stored: str) -> tuple[str, CommitIdentity] | None:
    """The class and the commit of a baseline; None of what was corrupt when it was committed, or is none."""
    try:
        return read_checkout(json.loads(run_git_bytes(root, "show", stored)))
    except (ValueError, KeyError, TypeError):
        return None


def _stored_baselines(root: Path, baselines: Path) -> Iterator[tuple[str, list[str]]]:
    """The commits that stored baselines, the newest first, each with the files' paths from the repository's top."""
    options = ("-m", "--first-parent", "--diff-filter=AM", "--name-only", "-z", "--format=commit %H")
    words = run_git(root, "log", *options, "--", str(baselines)).replace("\0\n", "\0").split("\0")
    commits: dict[str, list[str]] = {}
    for word in (word.strip("\n") for word in words):
        if word.startswith("commit "):
            paths = commits.setdefault(word.removeprefix("commit "), [])
        elif word.endswith(".json"):
            paths.append(word)
    yield from commits.items()

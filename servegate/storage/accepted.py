"""The commit that was accepted last, on whatever machine: what to compare with where this machine has no figures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servegate.storage.baselines import read_checkout
from servegate.storage.commits import find_equivalent
from servegate.storage.git import run_git, run_git_bytes


@dataclass(frozen=True)
class AcceptedCommit:
    """A commit whose figures were accepted as a baseline.

    Attributes
    ----------
    commit:
        Full hash.
    machine_class:
        Where it was measured.
    commits_since:
        How many commits HEAD is ahead of it.
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
        As in `find_equivalent`: after a squash merge a commit with the same service and lock file stands in.

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
    for changed_in, path in _stored_baselines(root, baselines):
        try:
            machine_class, checkout = read_checkout(json.loads(run_git_bytes(root, "show", f"{changed_in}:{path}")))
        except (ValueError, KeyError, TypeError):
            continue  # one that was corrupt when it was committed, or of a version before there was this record
        commit = find_equivalent(root, checkout, service, lock)
        return AcceptedCommit(commit, machine_class, int(run_git(root, "rev-list", "--count", f"{commit}..HEAD")))
    return None


def _stored_baselines(root: Path, baselines: Path) -> Iterator[tuple[str, str]]:
    """The commits that stored a baseline, the newest first, each with the file's path from the repository's top."""
    options = ("-m", "--first-parent", "--diff-filter=AM", "--name-only", "--format=commit %H")
    history = run_git(root, "log", *options, "--", str(baselines))
    commit = ""
    for line in filter(None, history.split("\n")):
        if line.startswith("commit "):
            commit = line.removeprefix("commit ")
        elif line.endswith(".json"):
            yield commit, line

"""Git repositories on this disk: the project's, and those of its submodules."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servegate.errors import CheckoutError
from servegate.storage.git import GitFailedError, run_git


@dataclass(frozen=True)
class Repository:
    """A repository and where its files are.

    Attributes
    ----------
    git_dir:
        Its `.git` folder, or the folder that a `.git` file names.
    work_tree:
        Its files as they are now; None for a submodule that isn't checked out.
    path:
        Path of a submodule below the outermost repository, with a slash at the end; empty for the outermost one.
    """

    git_dir: Path
    work_tree: Path | None
    path: str = ""

    @classmethod
    def around(cls, folder: Path, path: str = "") -> "Repository":
        """The repository that a folder belongs to.

        Raises
        ------
        CheckoutError
            Where there is none, or no git.
        """
        git_dir = run_git(folder, "rev-parse", "--absolute-git-dir")
        return cls(Path(git_dir), Path(run_git(folder, "rev-parse", "--show-toplevel")), path)

    @property
    def common_dir(self) -> Path:
        """The folder that all work trees of the repository share, with objects of Git LFS and most submodules."""
        return (self.git_dir / self.run(self.git_dir, "rev-parse", "--git-common-dir")).resolve()

    def run(self, folder: Path, *arguments: str, index: Path | None = None) -> str:
        """Run git as if the repository's files were those of a folder.

        Parameters
        ----------
        index:
            An index to use instead of the repository's, which stays as it is.

        Raises
        ------
        GitFailedError
            When it ends with a status that isn't 0.
        """
        environment = {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(folder)}
        if index is not None:
            environment["GIT_INDEX_FILE"] = str(index)
        return run_git(folder, *arguments, environment=environment)

    def has(self, commit: str) -> bool:
        """Whether the commit is here."""
        try:
            self.run(self.git_dir, "cat-file", "-e", f"{commit}^{{commit}}")
        except GitFailedError:
            return False
        return True

    def find_submodule(self, files: Path, name: str, commit: str) -> "Repository":
        """The repository of a submodule that has a commit: checked out in the work tree, or kept in the git folder.

        Parameters
        ----------
        files:
            The folder with the `.gitmodules` that names it.
        name:
            Its folder below the repository's files.

        Raises
        ------
        CheckoutError
            When the commit is not on this disk; the message says how to fetch it.
        """
        path = f"{self.path}{name}"
        work_tree = None if self.work_tree is None else self.work_tree / name
        if work_tree is not None and (work_tree / ".git").exists():
            checked_out = Repository.around(work_tree, path + "/")
            if checked_out.has(commit):
                return checked_out
            cure = f"git -C {path} fetch origin {commit}"
        else:
            cure = f"git submodule update --init --recursive {path}"
        for kept_as in self._submodule_names(files, name):
            for git_dir in (self.git_dir, self.common_dir):
                kept = Repository(git_dir / "modules" / kept_as, None, path + "/")
                if kept.git_dir.is_dir() and kept.has(commit):
                    return kept
        raise CheckoutError(f"the submodule {path} is not here at its commit {commit[:12]}; fetch it with: {cure}")

    def _submodule_names(self, files: Path, path: str) -> Iterator[str]:
        """The name of a folder's submodule in `.gitmodules`; git keeps its repository by that name."""
        try:
            entries = self.run(files, "config", "--file", ".gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$")
        except GitFailedError:
            return  # no such file, or nothing in it
        for entry in entries.split("\0"):
            key, _, value = entry.partition("\n")
            if value == path:
                yield key.removeprefix("submodule.").removesuffix(".path")

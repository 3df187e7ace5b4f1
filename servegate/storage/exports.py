"""The files of a repository in a folder of their own: a commit's, or those of the work tree as they are now."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from servegate.errors import CheckoutError
from servegate.processes.guard import guard
from servegate.storage.large_files import WITHOUT_FILTER, fill_pointers
from servegate.storage.repositories import Repository

_SUBMODULE_MODE = "160000"


def export_commit(repository: Repository, commit: str, folder: Path, needed: str = "") -> None:
    """Write a commit's files into an empty folder; nothing is written to `.git`.

    Parameters
    ----------
    needed:
        A folder of the repository with a slash at the end; submodules and files of Git LFS outside it may be missing.

    Raises
    ------
    CheckoutError
        When git can't write the files, as on a full disk, or a submodule or a file of Git LFS is not on this disk.
    """
    with tempfile.TemporaryDirectory(prefix="index-", dir=guard().folder) as temporary:
        # An index of its own leaves the repository's alone. `git archive` would leave out what is marked export-ignore,
        # and tar files need care with links that lead out of the folder.
        index = Path(temporary) / "index"
        repository.run(folder, "read-tree", commit, index=index)
        repository.run(folder, *WITHOUT_FILTER, "checkout-index", "--all", index=index)
        files, submodules = _list_tracked(repository, folder, index)
    _fill_pointers(repository, folder, files, commit, needed)
    for name, pinned in submodules.items():
        with _raising_below(needed, name):
            _export_submodule(repository, name, pinned, folder)


def copy_work_tree(repository: Repository, folder: Path, needed: str = "") -> None:
    """Copy what git tracks in a work tree or would add to it, as it is now, into an empty folder.

    Parameters
    ----------
    needed:
        As in `export_commit`.

    Raises
    ------
    CheckoutError
        When a submodule or a file of Git LFS is not on this disk.
    OSError
        When a file can't be read or written.
    """
    work_tree = repository.work_tree
    assert work_tree is not None, "of a repository whose files are checked out"
    tracked, submodules = _list_tracked(repository, work_tree)
    untracked = _list_files(repository, work_tree, "--others", "--exclude-standard")
    # A repository within this one that is no submodule is listed as a folder.
    nested = [name.rstrip("/") for name in untracked if name.endswith("/")]
    files = [name for name in (*tracked, *untracked) if _is_file(work_tree, name)]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a temporary file that another program has removed meanwhile
            shutil.copy(work_tree / name, folder / name, follow_symlinks=False)
    _fill_pointers(repository, folder, files, "HEAD", needed)
    for name in (*nested, *submodules):
        with _raising_below(needed, name):
            if (work_tree / name / ".git").exists():
                (folder / name).mkdir(parents=True)
                copy_work_tree(Repository.around(work_tree / name, f"{repository.path}{name}/"), folder / name)
            elif (work_tree / name).is_dir():
                _export_submodule(repository, name, submodules[name], folder)


def _is_file(work_tree: Path, name: str) -> bool:
    """Whether a file or link is still there, and not behind a link that has replaced one of its folders."""
    file = work_tree / name
    if not os.path.lexists(file) or (file.is_dir() and not file.is_symlink()):
        return False
    return not any((work_tree / parent).is_symlink() for parent in PurePath(name).parents)


def _export_submodule(repository: Repository, name: str, commit: str, folder: Path) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    export_commit(repository.find_submodule(folder, name, commit), commit, folder / name)


@contextmanager
def _raising_below(needed: str, name: str) -> Iterator[None]:
    """Let an error pass for what lies in the needed folder alone."""
    try:
        yield
    except CheckoutError:
        if name.startswith(needed):
            raise


def _fill_pointers(repository: Repository, folder: Path, files: Sequence[str], commit: str, needed: str) -> None:
    missing = [name for name in fill_pointers(repository, folder, files) if name.startswith(needed)]
    if missing:
        inside = f"git -C {repository.path}" if repository.path else "git"
        raise CheckoutError(
            f"the content of {repository.path}{missing[0]}, a pointer of Git LFS, is not on this disk; "
            f"fetch it with: {inside} lfs fetch origin {commit}"
        )


def _list_tracked(repository: Repository, folder: Path, index: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """The files that an index has, and by name the commits of its submodules."""
    files: dict[str, str] = {}
    submodules: dict[str, str] = {}
    for entry in _list_files(repository, folder, "--stage", index=index):
        description, _, name = entry.partition("\t")
        mode, content, _ = description.split()
        (submodules if mode == _SUBMODULE_MODE else files)[name] = content
    return list(files), submodules


def _list_files(repository: Repository, folder: Path, *arguments: str, index: Path | None = None) -> list[str]:
    listed = repository.run(folder, "ls-files", "-z", *arguments, index=index)
    return [entry for entry in listed.split("\0") if entry]

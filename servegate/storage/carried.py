"""Files that git ignores but the service needs, as weights: `perf_carry` gives them to both arms."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from servegate.errors import CheckoutError, ProcessError, ReferenceCheckoutError, ServegateError
from servegate.storage.git import run_git

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_MISSES_A_FILE = re.compile("FileNotFoundError|No such file or directory|ModuleNotFoundError")


def carry(root: Path, paths: Sequence[str], folders: Sequence[Path]) -> None:
    """Give ignored files to copies of a project, read-only.

    Each file is copied once, and the copies of the project share it by hard links: a service that writes to one can
    change neither the project's own file nor, short of becoming its owner, what the other arm reads, and large weights
    take their room on the disk and in the page cache once. The files lie in the copy itself, as all else that it loads.
    A copy that has a file of that name, since its commit does not ignore it, keeps its own.

    Parameters
    ----------
    root:
        The project.
    paths:
        Files or folders below it; of a folder, all that git ignores there.

    Raises
    ------
    CheckoutError
        When a path isn't there, lies outside the project, or has nothing that git ignores.
    OSError
        When a file can't be read or written.
    """
    for path in paths:
        for name in _list_ignored(root, path):
            copy: Path | None = None
            for target in (folder / name for folder in folders if not _has_own(folder, name)):
                target.parent.mkdir(parents=True, exist_ok=True)
                if copy is None:
                    copy = shutil.copyfile(root / name, target)
                    copy.chmod(stat.S_IMODE((root / name).stat().st_mode) & ~_WRITE)
                else:
                    target.hardlink_to(copy)


def advise_to_carry(error: ServegateError) -> ServegateError:
    """The error of a process, which names `perf_carry` if the process misses a file; any other error as it is."""
    if not isinstance(error, ReferenceCheckoutError | ProcessError) or not _MISSES_A_FILE.search(str(error)):
        return error
    return type(error)(
        f"{error}\nit misses a file. Each arm has the files of its commit, or those that git would add to one; "
        "what git ignores but the service needs, name in the ini file: perf_carry = FILE FOLDER/"
    )


def _list_ignored(root: Path, path: str) -> Iterator[str]:
    """The files below the project that git ignores at a path, which may be one of them or a folder."""
    if PurePath(path).is_absolute() or ".." in PurePath(path).parts:
        raise CheckoutError(f"perf_carry: {path} must lie in the project, {root}")
    if not os.path.lexists(root / path):
        raise CheckoutError(f"perf_carry: there is no {path} in {root}")
    pathspec = f":(literal){PurePath(path)}"
    listed = run_git(root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", pathspec)
    if not listed:
        raise CheckoutError(
            f"perf_carry: git does not ignore {path}, so each arm has it as its commit does; leave it out"
        )
    for name in listed.rstrip("\0").split("\0"):
        yield from _list_files(root, name.rstrip("/"))


def _list_files(root: Path, name: str) -> Iterator[str]:
    """The file itself, or all files behind a link to a folder or in a repository, of which git lists no files."""
    if not (root / name).is_dir():
        yield name
        return
    for folder, folders, files in os.walk(root / name, followlinks=True):
        folders[:] = [folder for folder in folders if folder != ".git"]
        yield from (str((Path(folder) / file).relative_to(root)) for file in files)


def _has_own(folder: Path, name: str) -> bool:
    """Whether there is such a file, or a link on the way to it, which might lead out of the folder."""
    parents = list(PurePath(name).parents)[:-1]
    return os.path.lexists(folder / name) or any((folder / parent).is_symlink() for parent in parents)

"""Files of Git LFS: git keeps a pointer, and the content lies in a store of its own beside it."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from servegate.storage.repositories import Repository

# Switches the filter of Git LFS off: where it is installed it would fetch what is missing while a file is written.
WITHOUT_FILTER = ("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false")

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: "Pointer files must be less than 1024 bytes in size".
_MAX_BYTES = 1024
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n")


def fill_pointers(repository: Repository, folder: Path, names: Iterable[str]) -> list[str]:
    """Replace the pointers among some files by their content.

    Parameters
    ----------
    folder, names:
        The files, exported from the repository.

    Returns
    -------
    list[str]
        The files whose content is not on this disk; they stay pointers.
    """
    contents = {name: content for name in names if (content := _read_pointer(folder / name))}
    missing = []
    for name, content in contents.items():
        attribute = repository.run(folder, "check-attr", "-z", "filter", "--", name).split("\0")[2]
        if attribute != "lfs":
            continue  # it looks like a pointer, and is a file of the project
        stored = _store_of(repository) / content[:2] / content[2:4] / content
        if stored.exists():
            shutil.copyfile(stored, folder / name)
        else:
            missing.append(name)
    return missing


def _read_pointer(file: Path) -> str:
    """SHA-256 of the content that a pointer stands for; empty for any other file."""
    if file.is_symlink() or not file.is_file() or file.stat().st_size >= _MAX_BYTES:
        return ""
    found = _POINTER.match(file.read_bytes())
    return found[1].decode() if found else ""


def _store_of(repository: Repository) -> Path:
    storage = repository.run(repository.git_dir, "config", "--type=path", "--default=lfs", "--get", "lfs.storage")
    return repository.common_dir / storage / "objects"

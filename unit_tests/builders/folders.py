"""What a folder holds, to be compared as one value."""

import os
import stat
from pathlib import Path
from typing import NamedTuple


class FileOrLink(NamedTuple):
    """A file with its mode, as `-rw-r--r--`, and its content; of a link the content is its target."""

    mode: str
    content: bytes


Tree = dict[str, FileOrLink]


def read_tree(folder: Path) -> Tree:
    """Every file and link of a folder by its name below it."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*files, *(name for name in folders if (Path(place) / name).is_symlink())):
            path = Path(place) / name
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(folder))] = FileOrLink(stat.filemode(path.lstat().st_mode), content)
    return found

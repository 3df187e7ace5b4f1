"""Compiled models on disk, each under a key of everything on which it depends; written completely or not at all.

An entry is a folder of files with `entry.json`, which holds the key and the files' SHA-256. A user may delete the whole
cache at any time. Nothing in it is unpickled.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # 1: entry.json with "format", "key" and "files"
_MANIFEST = "entry.json"
_FAILED_SUFFIX = ".failed"
# All workers of a start ask for the same model. One failure counts for all of them, but not for the next start.
_FAILURE_LASTS_S = 60.0
_UNUSED_AFTER_S = 30 * 86_400.0

Key = Mapping[str, object]


class CompileError(Exception):
    """There is no compiled model; the message says why."""


def cache_folder() -> Path:
    """Find the service's folder in the user's cache: below XDG_CACHE_HOME, or `~/.cache`."""
    return user_cache_path("litserve-classifier")


def find_or_build(folder: Path, key: Key, build: Callable[[Path], None], wait_s: float) -> Path:
    """Find the entry for a key. The first process that asks builds it; the others wait for that.

    Parameters
    ----------
    folder:
        The cache; made if it isn't there.
    key:
        Everything on which the entry depends, as JSON values.
    build:
        Writes the entry's files into an empty folder, or raises CompileError.
    wait_s:
        The most seconds to wait for another process that builds the same entry.

    Raises
    ------
    CompileError
        If the entry can't be built, was not built in time, or the cache can't be used.
    """
    entry = folder / hashlib.sha256(_canonical(key)).hexdigest()[:32]
    try:
        _make_private(folder)
        if _is_whole(entry, key):
            return entry
        with FileLock(entry.with_suffix(".lock"), timeout=wait_s):
            if not _is_whole(entry, key):
                _build(entry, key, build)
        return entry
    except Timeout:
        raise CompileError(f"another process has not finished compiling it in {wait_s:.0f} s") from None
    except OSError as error:
        raise CompileError(f"the cache {folder} can't be used: {error}") from error


def _canonical(key: Key) -> bytes:
    return json.dumps(key, sort_keys=True).encode()


def _make_private(folder: Path) -> None:
    """Make the folder, or refuse one that others can write to: this process will run the code in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CompileError(f"others can write to the cache {folder}; remove it or set XDG_CACHE_HOME")


def _is_whole(entry: Path, key: Key) -> bool:
    """Whether the entry exists, was made for this key, and has the files that were written."""
    if not entry.exists():
        return False
    try:
        manifest = json.loads((entry / _MANIFEST).read_bytes())
        problem = (
            "has another format" if manifest["format"] != _FORMAT
            else "was made for another key" if _canonical(manifest["key"]) != _canonical(key)
            else "has changed files" if manifest["files"] != _checksums(entry)
            else None
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError) as error:
        problem = f"can't be read ({error!r})"
    if problem is not None:
        _LOG.warning("the compiled model %s %s and is built again", entry, problem)
        return False
    os.utime(entry)
    return True


def _checksums(entry: Path) -> dict[str, str]:
    return {
        str(path.relative_to(entry)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in entry.rglob("*")
        if path.is_file() and path != entry / _MANIFEST
    }


def _build(entry: Path, key: Key, build: Callable[[Path], None]) -> None:
    failed, staging = entry.with_suffix(_FAILED_SUFFIX), entry.with_suffix(".building")
    _refuse_recent_failure(failed)
    _remove_unused(entry.parent)
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed while it built
    shutil.rmtree(entry, ignore_errors=True)
    staging.mkdir()
    try:
        build(staging)
    except CompileError as error:
        shutil.rmtree(staging)
        failed.write_text(str(error))
        raise
    manifest = {"format": _FORMAT, "key": key, "files": _checksums(staging)}
    (staging / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    staging.rename(entry)


def _refuse_recent_failure(failed: Path) -> None:
    try:
        age_s, reason = time.time() - failed.stat().st_mtime, failed.read_text()
    except FileNotFoundError:
        return
    if 0 <= age_s < _FAILURE_LASTS_S:
        raise CompileError(f"it failed {age_s:.0f} s ago: {reason}")


def _remove_unused(folder: Path) -> None:
    oldest = time.time() - _UNUSED_AFTER_S
    for path in folder.iterdir():
        if path.is_dir() and path.stat().st_mtime < oldest:
            _LOG.info("removing the compiled model %s: not used for a month", path)
            shutil.rmtree(path, ignore_errors=True)

"""An entry is built once, found again by its key alone, and never used when it isn't what was written."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.model.cache import CompileError, cache_folder, find_or_build
from unit_tests.builders.repository import ROOT

_KEY = {"model": "a", "sizes": [1, 8], "folder": "/with/a/slash"}
_WAIT_S = 30.0


class _Builder:
    """Writes two files, one of them in a folder, and counts how often it was asked."""

    def __init__(self, content: bytes = b"code") -> None:
        self.calls = 0
        self._content = content

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        assert list(folder.iterdir()) == []
        (folder / "1").mkdir()
        (folder / "1" / "model.so").write_bytes(self._content)
        (folder / "weights.bin").write_bytes(b"weights")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache that isn't there yet."""
    return tmp_path / "home" / "cache"


def test_an_entry_is_built_once(folder: Path) -> None:
    """The second time the same folder comes back, with what was built, and nothing else is left in the cache."""
    build = _Builder()
    entry = find_or_build(folder, _KEY, build, _WAIT_S)
    assert find_or_build(folder, _KEY, build, _WAIT_S) == entry
    assert build.calls == 1
    assert (entry / "1" / "model.so").read_bytes() == b"code"
    assert (entry / "weights.bin").read_bytes() == b"weights"
    assert [path for path in folder.iterdir() if path.is_dir()] == [entry]


@pytest.mark.parametrize("other", [{**_KEY, "model": "b"}, {**_KEY, "sizes": [1]}, {**_KEY, "more": None}])
def test_another_key_has_another_entry(folder: Path, other: dict[str, object]) -> None:
    """Each part of the key counts."""
    build = _Builder()
    assert find_or_build(folder, _KEY, build, _WAIT_S) != find_or_build(folder, other, build, _WAIT_S)
    assert build.calls == 2


def _cut(entry: Path) -> None:
    os.truncate(entry / "1" / "model.so", 2)


def _change(entry: Path) -> None:
    (entry / "1" / "model.so").write_bytes(b"evil")


def _add(entry: Path) -> None:
    (entry / "1" / "another.so").write_bytes(b"code")


def _remove(entry: Path) -> None:
    (entry / "weights.bin").unlink()


def _remove_manifest(entry: Path) -> None:
    (entry / "entry.json").unlink()


def _break_manifest(entry: Path) -> None:
    (entry / "entry.json").write_text("[")


def _another_key(entry: Path) -> None:
    _edit_manifest(entry, key={"model": "of another machine"})


def _another_format(entry: Path) -> None:
    _edit_manifest(entry, format=0)


def _edit_manifest(entry: Path, **changes: object) -> None:
    manifest: dict[str, Any] = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "damage", [_cut, _change, _add, _remove, _remove_manifest, _break_manifest, _another_key, _another_format]
)
def test_an_entry_that_is_not_what_was_written_is_built_again(
    folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A log line names it, and the new one is whole and stays."""
    build = _Builder()
    entry = find_or_build(folder, _KEY, build, _WAIT_S)
    damage(entry)
    assert find_or_build(folder, _KEY, build, _WAIT_S) == entry
    assert build.calls == 2
    assert str(entry) in caplog.text
    assert "is built again" in caplog.text
    assert (entry / "1" / "model.so").read_bytes() == b"code"
    find_or_build(folder, _KEY, build, _WAIT_S)
    assert build.calls == 2


def test_what_a_killed_process_left_is_no_entry(folder: Path) -> None:
    """Half an entry is built anew."""
    entry = find_or_build(folder, _KEY, _Builder(), _WAIT_S)
    entry.rename(entry.with_suffix(".building"))
    assert find_or_build(folder, _KEY, _Builder(b"new"), _WAIT_S) == entry
    assert (entry / "1" / "model.so").read_bytes() == b"new"
    assert not entry.with_suffix(".building").exists()


def _fail(folder: Path) -> None:
    (folder / "half").touch()
    raise CompileError("no compiler")


def test_a_failure_leaves_nothing_and_counts_for_a_minute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other workers of the same start don't try again; a later start does."""
    with pytest.raises(CompileError, match="no compiler"):
        find_or_build(folder, _KEY, _fail, _WAIT_S)
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    build = _Builder()
    with pytest.raises(CompileError, match=r"failed \d s ago: no compiler"):
        find_or_build(folder, _KEY, build, _WAIT_S)
    assert build.calls == 0
    later_s = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later_s)
    find_or_build(folder, _KEY, build, _WAIT_S)
    assert build.calls == 1


def test_entries_that_nobody_used_for_a_month_go(folder: Path) -> None:
    """They go when another one is built; those in use stay."""
    old, used = ({"model": name} for name in ("old", "used"))
    entries = [find_or_build(folder, key, _Builder(), _WAIT_S) for key in (old, used)]
    month_ago_s = time.time() - 31 * 86_400
    for entry in entries:
        os.utime(entry, (month_ago_s, month_ago_s))
    find_or_build(folder, used, _Builder(), _WAIT_S)
    find_or_build(folder, _KEY, _Builder(), _WAIT_S)
    assert [entry.exists() for entry in entries] == [False, True]


_PROGRAM = """
import sys, time
from pathlib import Path
from service.model.cache import find_or_build

folder, log = map(Path, sys.argv[1:])

def build(entry):
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(1)
    (entry / "model.so").write_bytes(b"code")

print(find_or_build(folder, {"model": "a"}, build, 30.0))
"""


def test_processes_that_start_at_once_build_once(folder: Path, tmp_path: Path) -> None:
    """One builds, the others wait and find what it built."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", _PROGRAM, str(folder), str(log)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert log.read_text() == "built\n"


def test_waiting_for_another_process_ends(folder: Path, tmp_path: Path) -> None:
    """A process that hangs while it builds doesn't hold the others up for ever."""
    log = tmp_path / "log"
    log.touch()
    program = _PROGRAM.replace("sleep(1)", "sleep(60)")
    with subprocess.Popen([sys.executable, "-c", program, str(folder), str(log)], cwd=ROOT) as process:
        end_s = time.monotonic() + 30
        while not log.read_text() and time.monotonic() < end_s:
            time.sleep(0.02)
        with pytest.raises(CompileError, match="another process has not finished"):
            find_or_build(folder, {"model": "a"}, _Builder(), wait_s=0.2)
        process.kill()


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_cache_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    """An entry is code: it must be this user's own."""
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(CompileError, match="others can write to the cache"):
        find_or_build(folder, _KEY, _Builder(), _WAIT_S)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(CompileError, match=r"the cache .*file/cache can't be used"):
        find_or_build(tmp_path / "file" / "cache", _KEY, _Builder(), _WAIT_S)


@pytest.mark.parametrize(
    ("home", "expected"),
    [("/elsewhere", Path("/elsewhere")), ("", Path("/home/me/.cache")), ("relative", Path("/home/me/.cache"))],
)
def test_the_cache_is_where_the_users_caches_are(monkeypatch: pytest.MonkeyPatch, home: str, expected: Path) -> None:
    """XDG_CACHE_HOME if it is an absolute path, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == expected / "litserve-classifier"

"""One process at a time holds the lock, and none takes it with it when it is killed."""

import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from service.transport.process_lock import ProcessLock

_SPAWN = get_context("spawn")
_TIMES = 300


def _count(lock: ProcessLock, number: Any, start: Any) -> None:
    start.wait()
    for _ in range(_TIMES):
        with lock:
            before = number.value
            time.sleep(1e-5)  # another one would get in between
            number.value = before + 1


def _hold(lock: ProcessLock, test: Connection) -> None:
    test.send("at the door")
    with lock:
        test.send("inside")
        test.recv()


def _holder(lock: ProcessLock) -> tuple[Any, Connection]:
    """A process that goes inside and stays there, and what it tells."""
    ours, its = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_hold, args=(lock, its), daemon=True)
    process.start()
    assert ours.poll(60)
    assert ours.recv() == "at the door"
    return process, ours


def test_what_processes_do_inside_does_not_overlap() -> None:
    """Adding one is reading and writing: of three that do it at the same time none loses anything."""
    lock, number, start = ProcessLock(), _SPAWN.RawValue("q", 0), _SPAWN.Barrier(3)
    processes = [_SPAWN.Process(target=_count, args=(lock, number, start), daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert number.value == 3 * _TIMES


def test_a_killed_process_does_not_keep_it() -> None:
    """Whoever waits at the door comes in then, and not before."""
    lock = ProcessLock()
    first, says_first = _holder(lock)
    assert says_first.poll(60)
    second, says_second = _holder(lock)
    try:
        assert not says_second.poll(0.2)
        first.kill()
        assert says_second.poll(60)
        assert says_second.recv() == "inside"
    finally:
        for process in (first, second):
            process.kill()
            process.join()


def test_it_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while it is there: a server that is killed can't tidy up."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ProcessLock():
        assert list(tmp_path.iterdir()) == []

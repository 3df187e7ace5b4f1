"""Memory that processes share is where no quota of a folder can take it away."""

from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.transport.request_table import RequestTable
from service.transport.shared_arrays import SharedArrays


def _add_one(shared: SharedArrays) -> None:
    shared["numbers"][...] += 1


@pytest.mark.parametrize("processes", [get_context("spawn"), get_context("fork")], ids=["spawn", "fork"])
def test_what_another_process_writes_is_seen_here(processes: Any) -> None:
    """In its own array, and in no other."""
    shared = SharedArrays(
        {"before": ((3,), np.uint8), "numbers": ((2, 3), np.int64), "none": ((0,), np.int64), "after": ((5,), np.int8)}
    )
    assert shared["numbers"].tolist() == [[0, 0, 0], [0, 0, 0]]
    shared["before"][:], shared["numbers"][1, 2], shared["after"][:] = 255, 41, -1
    other = processes.Process(target=_add_one, args=(shared,))
    other.start()
    other.join(60)
    assert other.exitcode == 0
    assert shared["numbers"].tolist() == [[1, 1, 1], [1, 1, 42]]
    assert (shared["before"].tolist(), shared["none"].tolist(), shared["after"].tolist()) == ([255] * 3, [], [-1] * 5)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_its_memory_is_given_back() -> None:
    """With the last array that shows it."""
    files = _open_files()
    kept = SharedArrays({"numbers": ((1_000,), np.uint8)})["numbers"]
    kept[0] = 7
    assert kept.sum() == 7
    del kept
    assert _open_files() == files


def test_the_request_table_does_not_lie_in_dev_shm() -> None:
    """Two servers with 77 MB each are put side by side, and Docker's /dev/shm has 64."""
    before = Path("/proc/self/maps").read_text().splitlines()
    table = RequestTable(224, slots=512, processes=1, labels=2, devices=1, workers_per_device=2)
    sizes: dict[str, int] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line not in before:
            span, *_, name = line.split(maxsplit=5)
            start, end = (int(address, 16) for address in span.split("-"))
            sizes[name] = sizes.get(name, 0) + end - start
    assert sizes["/memfd:classifier (deleted)"] >= 512 * 224 * 224 * 3
    assert not [name for name in sizes if "/dev/shm" in name and "sem." not in name]
    assert table.in_sight == 0

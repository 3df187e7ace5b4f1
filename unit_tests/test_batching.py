"""A batch is closed when nobody else is on the way, each free worker gets its share, and nobody waits too long."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from litserve import LitAPI
from litserve.transport.process_transport import MPQueueTransport

from service.batching import FairShareLoop, Occupancy
from service.server import build_server
from service.settings import load_settings

_NEVER_S = "9"
"""A batch window in seconds that a test would notice: it is only waited out where the test says so."""

_COUNT_IN_CHILDREN = """
import multiprocessing

from service.batching import Occupancy


def visit(occupancy, worker_id):
    for _ in range(500):
        occupancy.arrive()
    for _ in range(400):
        occupancy.leave()
    occupancy.set_free(worker_id, free=True)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    occupancy = Occupancy()
    children = [context.Process(target=visit, args=(occupancy, worker_id)) for worker_id in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(occupancy.arriving, occupancy.free_workers)
"""


class _House:
    """A worker's loop with the queue that it takes its requests from."""

    def __init__(self, *, batch_timeout_s: str = _NEVER_S) -> None:
        flags = ["--max-batch-size", "8", "--batch-timeout-s", batch_timeout_s, "--request-timeout-s", "20"]
        self.api: LitAPI = build_server(load_settings(flags, "unit_tests")).lit_api
        self.occupancy = Occupancy()
        self.queue: Queue[Any] = Queue()
        self.dropped: list[str] = []
        self._loop = FairShareLoop(self.occupancy, drop=self.dropped.append)

    def admit(self, *names: str, age_s: float = 0.0) -> None:
        """Requests that have been admitted and stand in the queue."""
        for name in names:
            self.occupancy.arrive()
            self.queue.put((0, name, time.monotonic() - age_s, f"image of {name}"))

    def collect(self) -> tuple[list[str], list[str]]:
        """The next batch and the requests that waited too long, by name."""
        batch, timed_out = self._loop.get_batch_requests(self.api, self.queue, MPQueueTransport(None, [Queue()]))
        assert all(payload == f"image of {name}" for _, name, payload in batch)
        return [name for _, name, _ in batch], [name for _, name in timed_out]


def _collect_early(house: _House) -> tuple[list[str], list[str]]:
    """What is collected without the batch window being waited out."""
    start_s = time.monotonic()
    collected = house.collect()
    assert time.monotonic() - start_s < float(_NEVER_S)
    return collected


def test_a_single_request_does_not_wait_for_company() -> None:
    """Nobody else is on the way: its batch is closed at once."""
    house = _House()
    house.admit("a")
    assert _collect_early(house) == (["a"], [])
    assert house.occupancy.arriving == 0


def test_all_that_is_there_goes_together() -> None:
    """One free worker takes all, in order."""
    house = _House()
    house.admit("a", "b", "c", "d", "e")
    assert _collect_early(house) == (["a", "b", "c", "d", "e"], [])


def test_a_batch_is_never_larger_than_allowed() -> None:
    """The rest stays for the next one."""
    house = _House()
    house.admit(*"abcdefghijk")
    assert _collect_early(house) == (list("abcdefgh"), [])
    assert house.occupancy.arriving == 3
    assert _collect_early(house) == (list("ijk"), [])


@pytest.mark.parametrize(("others", "share"), [(0, 5), (1, 3), (2, 2), (4, 1), (9, 1)])
def test_other_free_workers_get_their_share(others: int, share: int) -> None:
    """Of five requests each of n free workers takes a fifth, a third, half: rounded up, one at least."""
    house = _House()
    for worker_id in range(1, 1 + others):
        house.occupancy.set_free(worker_id, free=True)
    house.admit("a", "b", "c", "d", "e")
    batch, _ = _collect_early(house)
    assert len(batch) == share
    assert house.occupancy.arriving == 5 - share


def test_a_busy_worker_gets_no_share() -> None:
    """What it can't take now is not left for it."""
    house = _House()
    house.occupancy.set_free(1, free=True)
    house.occupancy.set_free(1, free=False)
    house.admit("a", "b")
    assert _collect_early(house) == (["a", "b"], [])


def test_a_request_that_is_still_decoded_is_waited_for_up_to_the_window() -> None:
    """One in the queue, one on the way that never comes: the window closes the batch."""
    house = _House(batch_timeout_s="0.2")
    house.admit("a")
    house.occupancy.arrive()
    come_after_all = threading.Timer(float(_NEVER_S), house.occupancy.leave)  # so that a failure is no hang
    come_after_all.start()
    start_s = time.monotonic()
    assert house.collect() == (["a"], [])
    waited_s = time.monotonic() - start_s
    come_after_all.cancel()
    assert 0.2 <= waited_s < float(_NEVER_S)


def test_a_request_that_waited_too_long_is_not_predicted() -> None:
    """It is handed back for its 504, and takes no place in the batch."""
    house = _House()
    house.admit("old", age_s=21)
    house.admit("young", age_s=19)
    assert _collect_early(house) == (["young"], ["old"])
    assert house.dropped == ["image of old"]
    assert house.occupancy.arriving == 0


def test_an_idle_worker_comes_back_with_nothing() -> None:
    """LitServe's loop gets to look after itself now and then."""
    house = _House()
    assert _collect_early(house) == ([], [])


def test_a_worker_is_free_only_while_it_collects() -> None:
    """Between two batches it predicts, also after an error of the queue."""
    house = _House()
    house.admit("a")
    house.collect()
    assert house.occupancy.free_workers == 0
    house.queue.put("no request")
    with pytest.raises(ValueError, match="unpack"):
        house.collect()
    assert house.occupancy.free_workers == 0


def test_a_count_that_is_wrong_never_gets_below_nothing() -> None:
    """A process that was killed may have left its count wrong."""
    occupancy = Occupancy()
    occupancy.leave()
    assert occupancy.arriving == 0


def test_the_counts_are_those_of_all_processes(tmp_path: Path) -> None:
    """Two spawned processes that count at the same time lose nothing."""
    (tmp_path / "program.py").write_text(_COUNT_IN_CHILDREN)
    command = [sys.executable, str(tmp_path / "program.py")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    finished = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert finished.stdout == "200 2\n"


def test_each_server_has_its_own_loop_with_its_own_counts() -> None:
    """What the HTTP side counts is what the worker's loop reads."""
    server, other = (build_server(load_settings([], "unit_tests")) for _ in range(2))
    assert isinstance(server.lit_api.loop, FairShareLoop)
    server.app.state.intake.occupancy.arrive()
    assert server.app.state.intake.occupancy.arriving == 1
    assert other.app.state.intake.occupancy.arriving == 0

"""The worker without an API answers jobs by JSON lines until its input ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import pytest

from servegate.processes.managed import ManagedProcess
from service.model_worker import Job, main, measure
from unit_tests.builders.repository import ROOT

_COMMAND = [sys.executable, "-m", "service.model_worker", "--device", "cpu", "--max-batch-size", "2"]
_READY_DEADLINE_S = 120.0
_ANSWER_DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def worker() -> Iterator[ManagedProcess]:
    """A worker that has said that it is ready."""
    with ManagedProcess(_COMMAND, cwd=ROOT, env={}, name="the worker", pipes=True) as process:
        ready = json.loads(process.read_line(_READY_DEADLINE_S))
        assert ready.keys() == {"ready", "most_in_flight"}
        assert ready["most_in_flight"] == 2
        assert ready["ready"].keys() == {"device", "precision", "threads", "engine"}
        assert ready["ready"]["device"] == "cpu"
        assert ready["ready"]["precision"] in ("float32", "bfloat16")
        assert ready["ready"]["threads"] >= 1
        assert ready["ready"]["engine"] in ("openvino", "inductor")
        yield process


@pytest.mark.parametrize("in_flight", [{}, {"in_flight": 1}, {"in_flight": 2}])
@pytest.mark.parametrize(("batch_size", "rounds"), [(1, 1), (1, 5), (8, 2)])
def test_a_job_is_answered_with_the_seconds_of_each_round(
    worker: ManagedProcess, batch_size: int, rounds: int, in_flight: Mapping[str, int]
) -> None:
    """As many positive numbers as rounds, on one line, also beyond the server's largest batch."""
    job = json.dumps({"batch_size": batch_size, "rounds": rounds, **in_flight})
    answer = json.loads(worker.exchange(job, _ANSWER_DEADLINE_S))
    assert answer.keys() == {"seconds"}
    assert len(answer["seconds"]) == rounds
    assert all(0 < seconds < _ANSWER_DEADLINE_S for seconds in answer["seconds"])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "a job is"),
        ("{", "a job is"),
        ("[1, 2]", "a job is"),
        ("null", "a job is"),
        ('{"batch_size": 1}', "'rounds'"),
        ('{"batch_size": 0, "rounds": 1}', "batch_size must be a whole number in 1..4096, got 0"),
        ('{"batch_size": 5000, "rounds": 1}', "batch_size must be a whole number in 1..4096, got 5000"),
        ('{"batch_size": 1, "rounds": "2"}', "rounds must be a whole number in 1..100000, got '2'"),
        ('{"batch_size": 1, "rounds": 2.5}', "rounds must be a whole number in 1..100000, got 2.5"),
        ('{"batch_size": true, "rounds": 1}', "batch_size must be a whole number in 1..4096, got True"),
        ('{"batch_size": 1, "rounds": 1, "in_flight": 0}', "in_flight must be a whole number in 1..2, got 0"),
        ('{"batch_size": 1, "rounds": 1, "in_flight": 3}', "in_flight must be a whole number in 1..2, got 3"),
        ('{"batch_size": 1, "rounds": 1, "in_flight": true}', "in_flight must be a whole number in 1..2, got True"),
        ('{"batch_size": 1, "rounds": 1, "in_flight": null}', "in_flight must be a whole number in 1..2, got None"),
        pytest.param("[" * 100_000, "a job is", id="deeply nested"),
    ],
)
def test_a_line_that_is_no_job_is_answered_with_an_error(worker: ManagedProcess, line: str, problem: str) -> None:
    """The worker says what is wrong and goes on."""
    answer = json.loads(worker.exchange(line, _ANSWER_DEADLINE_S))
    assert answer.keys() == {"error"}
    assert problem in answer["error"]
    job = json.dumps({"batch_size": 1, "rounds": 1})
    assert json.loads(worker.exchange(job, _ANSWER_DEADLINE_S)).keys() == {"seconds"}


class StandInGpu:
    """A classifier and its clock: the host takes a time to queue a batch, and the GPU a time to compute it.

    The GPU computes one batch after the other, or two side by side, which complete together.
    """

    def __init__(self, host_s: float, gpu_s: float, *, is_side_by_side: bool = False) -> None:
        self.log: list[str] = []
        self._now_s = self._free_s = 0.0
        self._host_s, self._gpu_s, self._is_side_by_side = host_s, gpu_s, is_side_by_side
        self._queued = 0

    def perf_counter(self) -> float:
        return self._now_s

    def enqueue(self, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], *, place: int) -> Callable[[], None]:
        number, self._queued = self._queued, self._queued + 1
        self.log.append(f"queue {len(images)} as {number} in {place}")
        self._now_s += self._host_s
        if not self._is_side_by_side:
            self._free_s = max(self._now_s, self._free_s) + self._gpu_s
        elif number % 2 == 0:
            self._free_s = max(self._now_s, self._free_s) + 2 * self._gpu_s
        done_s = self._free_s

        def result() -> None:
            self.log.append(f"result of {number}")
            self._now_s = max(self._now_s, done_s)

        return result

    def predict(self, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
        self.enqueue(images, place=0)()

    def synchronize(self) -> None:
        """The result was waited for."""

    def measure(self, monkeypatch: pytest.MonkeyPatch, rounds: int, in_flight: int) -> list[float]:
        """The seconds of a job's rounds."""
        monkeypatch.setattr("service.model_worker.time", self)
        return measure(Job(8, rounds, in_flight), cast("Any", self), image_size=4)


def test_the_next_batch_is_queued_before_the_last_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in the place whose batch is done; the last result is waited for, too, so that nothing runs on."""
    gpu = StandInGpu(host_s=1.0, gpu_s=4.0)
    assert len(gpu.measure(monkeypatch, rounds=2, in_flight=2)) == 2
    assert gpu.log == [
        "queue 8 as 0 in 0",
        "queue 8 as 1 in 1",
        "result of 0",
        "queue 8 as 2 in 0",
        "result of 1",
        "queue 8 as 3 in 1",
        "result of 2",
        "result of 3",
    ]


@pytest.mark.parametrize("rounds", [1, 5])
@pytest.mark.parametrize(
    ("host_s", "gpu_s", "in_flight", "round_s"), [(1.0, 4.0, 1, 5.0), (1.0, 4.0, 2, 4.0), (4.0, 1.0, 2, 4.0)]
)
def test_a_round_with_two_in_flight_is_the_time_from_one_completion_to_the_next(
    monkeypatch: pytest.MonkeyPatch, host_s: float, gpu_s: float, in_flight: int, round_s: float, rounds: int
) -> None:
    """One batch at a time takes both times. With two in flight the longer counts, in the first and last round too."""
    seconds = StandInGpu(host_s, gpu_s).measure(monkeypatch, rounds, in_flight)
    assert seconds == pytest.approx([round_s] * rounds)


def test_batches_that_complete_in_pairs_have_even_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their median is the throughput, too: it would be that of one half of them."""
    seconds = StandInGpu(0.0, 4.0, is_side_by_side=True).measure(monkeypatch, rounds=7, in_flight=2)
    assert seconds == pytest.approx([4.0] * 7)


def test_the_end_of_input_ends_the_worker_with_0() -> None:
    """What was asked before is answered first, and stdout holds nothing but answers."""
    finished = subprocess.run(
        _COMMAND,
        cwd=ROOT,
        input='{"batch_size": 1, "rounds": 2}\nno job\n{"batch_size": 2, "rounds": 1}\n',
        capture_output=True,
        text=True,
        check=False,
        timeout=_READY_DEADLINE_S,
    )
    assert finished.returncode == 0, finished.stderr
    answers = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [next(iter(answer)) for answer in answers] == ["ready", "seconds", "error", "seconds"]


def test_a_wrong_setting_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong, on stderr."""
    assert main(["--max-batch-size", "0"]) == 2
    output = capsys.readouterr()
    assert output.err == "--max-batch-size=0: Input should be greater than or equal to 1\n"
    assert output.out == ""

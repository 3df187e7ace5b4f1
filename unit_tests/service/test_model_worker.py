"""The worker without an API answers jobs by JSON lines until its input ends."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from servegate.processes.managed import ManagedProcess
from service.model_worker import main
from unit_tests.builders.repository import ROOT

_COMMAND = [sys.executable, "-m", "service.model_worker", "--device", "cpu", "--max-batch-size", "2"]
_READY_DEADLINE_S = 120.0
_ANSWER_DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def worker() -> Iterator[ManagedProcess]:
    """A worker that has said that it is ready."""
    with ManagedProcess(_COMMAND, cwd=ROOT, env={}, name="the worker", pipes=True) as process:
        ready = json.loads(process.read_line(_READY_DEADLINE_S))
        assert ready.keys() == {"ready"}
        assert ready["ready"].keys() == {"device", "precision", "threads", "engine"}
        assert ready["ready"]["device"] == "cpu"
        assert ready["ready"]["precision"] in ("float32", "bfloat16")
        assert ready["ready"]["threads"] >= 1
        assert ready["ready"]["engine"] in ("openvino", "inductor")
        yield process


@pytest.mark.parametrize(("batch_size", "rounds"), [(1, 1), (1, 5), (8, 2)])
def test_a_job_is_answered_with_the_seconds_of_each_round(worker: ManagedProcess, batch_size: int, rounds: int) -> None:
    """As many positive numbers as rounds, on one line, also beyond the server's largest batch."""
    job = json.dumps({"batch_size": batch_size, "rounds": rounds})
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
    assert [list(answer) for answer in answers] == [["ready"], ["seconds"], ["error"], ["seconds"]]


def test_a_wrong_setting_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong, on stderr."""
    assert main(["--max-batch-size", "0"]) == 2
    output = capsys.readouterr()
    assert output.err == "--max-batch-size=0: Input should be greater than or equal to 1\n"
    assert output.out == ""

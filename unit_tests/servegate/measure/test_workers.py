"""Workers by JSON lines: how many batches they have in flight, process by process and side by side."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from servegate.errors import MeasurementError
from servegate.load.engines import LoadEngine
from servegate.measure.workers import WorkerTarget
from servegate.records import Cell, Checkout
from unit_tests.builders.two_arms import MODULE, TwoArms

CELL = Cell("model", "batch", 8)
# A real process that speaks the protocol: it says its first line, and keeps the jobs that it gets.
_WORKER = """\
import json
import sys

if __name__ == "__main__":
    print({first!r}, flush=True)
    with open("jobs", "w", buffering=1) as jobs:
        for line in sys.stdin:
            jobs.write(line)
            print(json.dumps({{"seconds": [0.001] * json.loads(line)["rounds"]}}), flush=True)
"""
_TWO = {"ready": {"device": "cuda"}, "most_in_flight": 2}
_MANY = {"ready": {"device": "cuda:0"}, "most_in_flight": 8}
_ONE = {"ready": {"device": "cuda"}, "most_in_flight": 1}
_OLD = {"ready": {"device": "cuda"}}
_ON_CPU = {"ready": {"device": "cpu"}, "most_in_flight": 2}
_SILENT = {"ready": {}, "most_in_flight": 2}


def write_worker(arms: TwoArms, arm: str, first: Mapping[str, object]) -> None:
    arms.write(arm, "service/worker.py", _WORKER.format(first=json.dumps(first)))


def jobs_of(folder: Path) -> list[str]:
    """The lines that the worker of a checkout got."""
    return (folder / "jobs").read_text().splitlines()


def measure(arms: TwoArms, root: Path) -> Mapping[str, str]:
    """Measure the cell in one process of the head; the details that it has."""
    with WorkerTarget("model", MODULE).launch(Checkout.working_tree(root / "head")) as launched:
        launched.wait_until_ready()
        instrument = launched.open(LoadEngine())
        instrument.measure(CELL, 0.01)
        return instrument.details


@pytest.fixture
def arms(tmp_path: Path) -> TwoArms:
    return TwoArms(tmp_path)


@pytest.mark.parametrize("first", [_TWO, _MANY])
def test_a_worker_on_a_gpu_that_knows_how_has_two_batches_in_flight(
    first: Mapping[str, object], arms: TwoArms, tmp_path: Path
) -> None:
    """The warm-up and the rounds that count; it is recorded with what the worker says."""
    write_worker(arms, "head", first)
    details = measure(arms, tmp_path)
    assert details["model batches in flight"] == "2"
    assert details["model device"].startswith("cuda")
    assert jobs_of(tmp_path / "head") == [
        '{"batch_size": 8, "rounds": 2, "in_flight": 2}',
        '{"batch_size": 8, "rounds": 10, "in_flight": 2}',
    ]


@pytest.mark.parametrize("first", [_OLD, _ONE, _ON_CPU, _SILENT])
def test_other_workers_get_the_jobs_that_they_always_got(
    first: Mapping[str, object], arms: TwoArms, tmp_path: Path
) -> None:
    """On a CPU; where the worker doesn't know the field; and where it names no device."""
    write_worker(arms, "head", first)
    assert "model batches in flight" not in measure(arms, tmp_path)
    assert jobs_of(tmp_path / "head") == ['{"batch_size": 8, "rounds": 2}', '{"batch_size": 8, "rounds": 10}']


@pytest.mark.parametrize(
    ("base", "head", "in_flight"),
    [
        (_TWO, _TWO, 2),
        (_OLD, _TWO, 1),
        (_TWO, _OLD, 1),
        (_ONE, _TWO, 1),
        (_ON_CPU, _TWO, 1),
        (_ON_CPU, _ON_CPU, 1),
    ],
)
def test_side_by_side_both_arms_have_as_many_in_flight(
    base: Mapping[str, object], head: Mapping[str, object], in_flight: int, arms: TwoArms, tmp_path: Path
) -> None:
    """Two real workers: in the warm-up and in each burst, and in the report of both."""
    write_worker(arms, "base", base)
    write_worker(arms, "head", head)
    report = arms.run()
    for name, arm in (("base", report.base), ("head", report.head)):
        jobs = [json.loads(line) for line in jobs_of(tmp_path / name)]
        assert len(jobs) == 3
        assert {job.get("in_flight", 1) for job in jobs} == {in_flight}
        assert arm.details.get("model batches in flight", "1") == str(in_flight)


@pytest.mark.parametrize(("most", "said"), [("two", '"two"'), (True, "true"), (0, "0"), (None, "null"), (2.5, "2.5")])
def test_a_first_line_that_says_no_number_of_batches_is_an_error(
    most: object, said: str, arms: TwoArms, tmp_path: Path
) -> None:
    write_worker(arms, "head", {"ready": {"device": "cuda"}, "most_in_flight": most})
    message = f'^the model worker says "most_in_flight": {said} in its first line; it must be a whole number from 1 on'
    with pytest.raises(MeasurementError, match=message):
        measure(arms, tmp_path)

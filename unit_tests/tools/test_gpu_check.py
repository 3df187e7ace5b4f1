"""The check of a GPU runs the steps that can run, says which can't, and ends in time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.gpu_check.__main__ import main, run_step, table
from tools.gpu_check.steps import STEPS

_BY_NAME = {step.name: step for step in STEPS}


def test_all_steps_together_end_within_ten_minutes_and_some() -> None:
    assert sum(step.limit_s for step in STEPS) <= 600


def test_a_step_writes_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON; here on whatever machine runs the tests."""
    output = tmp_path / "check.json"
    assert main(["--only", "machine", "--output", str(output)]) == 0
    [report] = json.loads(output.read_text())
    assert (report["step"], report["outcome"], report["log"]) == ("machine", "done", "")
    names = {name for row in report["rows"] for name in row}
    assert names >= {"torch", "GPUs that the service counts", "CUDA to compile with", "Python.h", "/dev/shm MiB"}
    assert capsys.readouterr().out.startswith("machine: done, ")


def test_what_needs_a_gpu_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no failure."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    report = run_step(_BY_NAME["faults"])
    assert report["outcome"] == "could not run: there is no GPU that torch can use"
    assert report["rows"] == []


def test_a_step_that_takes_too_long_is_ended() -> None:
    report = run_step(replace(_BY_NAME["machine"], limit_s=0.05))
    assert report["outcome"] == "ended after its limit of 0.05 s"


@pytest.mark.slow
def test_the_whole_log_of_a_size_that_does_not_compile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other sizes are compiled all the same."""
    monkeypatch.setenv("CLASSIFIER_MODEL", "no_such_model")
    monkeypatch.setenv("CLASSIFIER_MICRO_BATCH_SIZE", "2")
    report = run_step(_BY_NAME["compile"])
    rows = report["rows"]
    assert isinstance(rows, list)
    assert [row["size"] for row in rows] == [2, 1]
    assert all(row["status"] == 1 and "no_such_model" in row["log"] for row in rows)


def test_the_table_has_a_line_for_each_row_and_the_end_of_the_log() -> None:
    """Numbers are rounded, and of a text of several lines the last is shown."""
    rows = [{"size": 8, "ms": 1.23456}, {"size": 64, "log": "Traceback:\nno such operator\n"}]
    log = "\n".join(f"line {number}" for number in range(9))
    report = {"step": "forward", "outcome": "failed with status 1", "seconds": 2.5, "rows": rows, "log": log}
    assert table(report) == [
        "forward: failed with status 1, 2.5 s",
        "  size 8, ms 1.23",
        "  size 64, log no such operator",
        *(f"  | line {number}" for number in range(4, 9)),
    ]

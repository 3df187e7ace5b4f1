"""`servegate trend` on a folder of runs."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servegate.cli import main
from servegate.errors import HistoryError
from servegate.storage.history import append_run, read_history
from unit_tests.builders.tiny_project import TinyProject

CELL = "api[concurrency=8]"


def document(day: int, per_s: float | None, status: str = "PASS", machine: str = "here") -> dict[str, Any]:
    return {
        "schema": 1,
        "began": f"2026-01-{day + 1:02}T08:00:00+00:00",
        "commit": f"{day:02}" * 20,
        "machine": {"class": machine},
        "cells": [{"cell": CELL, "now_per_s": per_s, "status": status}],
    }


@pytest.fixture
def falling(tmp_path: Path) -> Path:
    """Thirty runs, 10 % slower from the twenty-first on."""
    rng = np.random.default_rng(0)
    for day in reversed(range(30)):
        append_run(
            tmp_path / "history", document(day, (100.0 if day < 20 else 90.0) * float(np.exp(0.003 * rng.normal())))
        )
    return tmp_path / "history"


def test_runs_come_back_in_their_order_without_those_that_have_no_figure(tmp_path: Path) -> None:
    append_run(tmp_path, document(2, 102.0))
    append_run(tmp_path, document(0, 100.0))
    append_run(tmp_path, document(1, None, "NO_BASELINE"))
    append_run(tmp_path, document(3, 1.0, "INVALID"))
    points = read_history(tmp_path)["here", CELL]
    assert [(point.began[:10], point.throughput_per_s) for point in points] == [
        ("2026-01-01", 100.0),
        ("2026-01-03", 102.0),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 2}'])
def test_what_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(HistoryError, match=r"odd\.json"):
        read_history(tmp_path)


def test_a_change_is_named_with_its_commit(falling: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", str(falling)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"api\[concurrency=8\] -\d+\.\d% beginning with 202020202020 \(2026-01-21\); on here", first), (
        first
    )
    assert last == "30 runs, 1 cells"


def test_without_a_change_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(5):
        append_run(tmp_path, document(day, 100.0))
    assert main(["trend", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == ["no lasting change", "5 runs, 1 cells; 1 with fewer than 8 runs"]


def test_the_page_shows_each_cell(falling: Path, tmp_path: Path) -> None:
    page = tmp_path / "trend.html"
    main(["trend", str(falling), "--html", str(page)])
    text = page.read_text()
    assert ">1 lasting slowdown<" in text
    assert text.count("<figure>") == 1
    assert CELL in text


def test_the_figures_as_otava_reads_them(falling: Path, tmp_path: Path) -> None:
    path = tmp_path / "trend.csv"
    main(["trend", str(falling), "--csv", str(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time", "commit", CELL]
    assert len(rows) == 30
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_two_classes_of_machine_are_two_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(20):
        append_run(tmp_path, document(day, 100.0 if day % 2 else 50.0, machine="fast" if day % 2 else "slow"))
    assert main(["trend", str(tmp_path)]) == 0
    assert main(["trend", str(tmp_path), "--csv", str(tmp_path / "x.csv")]) == 2
    assert "--csv holds one class of machine, the history has fast, slow" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "servegate.cli", "trend", str(tmp_path / "no")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "there is no folder" in result.stderr


def test_a_run_is_kept(tiny_project: TinyProject) -> None:
    tiny_project.commit()
    assert tiny_project.run("perf_tests", "--perf-history", ".history").ret == pytest.ExitCode.OK
    (file,) = (tiny_project.root / ".history").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-[0-9a-f]{12}\.json", file.name)
    assert json.loads(file.read_text())["verdict"] == "not judged"
    assert len(read_history(tiny_project.root / ".history")) == 3

"""The command `servegate`, and `servegate trend` on a folder of runs."""

import csv
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servegate.cli import main
from servegate.storage.history import append_run, read_history
from unit_tests.builders.tiny_project import TinyProject

CELL = "api[concurrency=8]"
# A run that perfgate kept, as servegate was called until commit b08d3f0.
OLD_RUNS = Path(__file__).parent / "report" / "written_by_perfgate"


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
    assert re.search(rf"<p>{re.escape(CELL)} -\d+\.\d% beginning with 202020202020", text)


def test_the_page_shows_what_others_wrote_as_text(tmp_path: Path) -> None:
    """Two machines have plots of the same title; a name in them is there once."""
    history, page = tmp_path / "history", tmp_path / "trend.html"
    for day in range(4):
        append_run(history, document(day, 100.0, machine=("<a>", "<b>")[day % 2]))
    main(["trend", str(history), "--html", str(page)])
    text = page.read_text()
    assert "<h2>&lt;a&gt;</h2>" in text
    assert "<a>" not in text
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names)) > 0


def test_the_figures_as_otava_reads_them(falling: Path, tmp_path: Path) -> None:
    path = tmp_path / "trend.csv"
    main(["trend", str(falling), "--csv", str(path)])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time", "commit", CELL]
    assert len(rows) == 30
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_a_figure_that_grows_is_a_slowdown_and_one_that_shrinks_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(20):
        starts = {"api start": 6.0 if day < 10 else 9.0, "api memory": 2e9 if day < 10 else 1e9}
        figures = [{"figure": name, "head": head} for name, head in starts.items()]
        append_run(tmp_path, {**document(day, 100.0), "schema": 2, "figures": figures})
    assert main(["trend", str(tmp_path), "--html", str(tmp_path / "trend.html")]) == 1
    start, memory, counted = capsys.readouterr().out.splitlines()
    assert start.startswith("api start +50.0% beginning with ")
    assert memory.startswith("api memory -50.0% beginning with ")
    assert counted == "20 runs, 1 cells, 2 figures"
    assert "1 lasting slowdown<" in (tmp_path / "trend.html").read_text()


def test_two_classes_of_machine_are_two_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(20):
        append_run(tmp_path, document(day, 100.0 if day % 2 else 50.0, machine="fast" if day % 2 else "slow"))
    assert main(["trend", str(tmp_path)]) == 0
    assert main(["trend", str(tmp_path), "--csv", str(tmp_path / "x.csv")]) == 2
    assert "--csv holds one class of machine, the history has fast, slow" in capsys.readouterr().err


def test_runs_that_were_kept_before_the_rename_to_servegate_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As perfgate kept it with --perf-history, and as its results.json."""
    (old,) = OLD_RUNS.iterdir()
    written = json.loads(old.read_text())
    assert len(written["cells"]) == 3
    (tmp_path / "results.json").write_text(json.dumps({**written, "began": "2026-11-25T08:00:00+00:00"}, indent=1))
    shutil.copy(old, tmp_path)
    machine = written["machine"]["class"]
    for day in range(8):
        append_run(tmp_path, {**document(day, 50.0, machine=machine), "began": f"2026-12-0{day + 1}T08:00:00+00:00"})
    points = read_history(tmp_path)[machine, CELL]
    assert [point.value for point in points] == pytest.approx([100.0] * 2 + [50.0] * 8)
    assert [point.commit for point in points[:2]] == [written["commit"]] * 2
    assert main(["trend", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{CELL} -50.0% beginning with 000000000000 (2026-12-01); on {machine}",
        "10 runs, 3 cells; 2 with fewer than 8 runs",
    ]


def servegate(*arguments: str, hidden: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which a module seems not to be installed."""
    program = f"import sys; sys.modules[{hidden!r}] = None; from servegate.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "servegate", "trend", str(tmp_path / "no")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "there is no folder" in result.stderr


def test_without_ruptures_it_says_how_to_get_it(tmp_path: Path) -> None:
    result = servegate("trend", str(tmp_path), hidden="ruptures")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "servegate trend needs ruptures: pip install 'servegate[trend]'\n"


def test_without_ruptures_the_command_itself_works() -> None:
    result = servegate("--help", hidden="ruptures")
    assert result.returncode == 0
    assert "trend" in result.stdout


def test_without_matplotlib_the_page_tells_the_changes_and_how_to_get_plots(falling: Path, tmp_path: Path) -> None:
    page = tmp_path / "trend.html"
    result = servegate("trend", str(falling), "--html", str(page), hidden="matplotlib")
    assert (result.returncode, result.stderr) == (1, "")
    text = page.read_text()
    assert "pip install 'servegate[report]'" in text
    assert result.stdout.splitlines()[0] in text
    assert "<svg" not in text


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"servegate {version('servegate')}\n"


@pytest.mark.parametrize("arguments", [[], ["trends"]])
def test_without_a_command_it_is_misused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert "servegate: error:" in capsys.readouterr().err


def test_a_run_is_kept(tiny_project: TinyProject) -> None:
    tiny_project.commit()
    assert tiny_project.run("perf_tests", "--perf-history", ".history").ret == pytest.ExitCode.OK
    (file,) = (tiny_project.root / ".history").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}Z-[0-9a-f]{12}\.json", file.name)
    assert json.loads(file.read_text())["verdict"] == "not judged"
    assert len(read_history(tiny_project.root / ".history")) == 3

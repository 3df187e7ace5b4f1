"""The results of past runs in one folder."""

from pathlib import Path
from typing import Any

import pytest

from servegate.errors import HistoryError
from servegate.storage.history import append_run, read_history

CELL = "api[concurrency=8]"


def document(day: int, per_s: float | None, status: str = "PASS") -> dict[str, Any]:
    return {
        "schema": 1,
        "began": f"2026-01-{day + 1:02}T08:00:00+00:00",
        "commit": f"{day:02}" * 20,
        "machine": {"class": "here"},
        "cells": [{"cell": CELL, "now_per_s": per_s, "status": status}],
    }


def test_runs_come_back_in_their_order_without_those_that_have_no_figure(tmp_path: Path) -> None:
    append_run(tmp_path, document(2, 102.0))
    append_run(tmp_path, document(0, 100.0))
    append_run(tmp_path, document(1, None, "NO_BASELINE"))
    append_run(tmp_path, document(3, 1.0, "INVALID"))
    points = read_history(tmp_path)["here", CELL]
    assert [(point.began[:10], point.value) for point in points] == [
        ("2026-01-01", 100.0),
        ("2026-01-03", 102.0),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 3}'])
def test_what_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(HistoryError, match=r"odd\.json"):
        read_history(tmp_path)


def test_figures_are_kept_beside_cells_where_they_have_a_level(tmp_path: Path) -> None:
    for day, head in enumerate((6.0, None, -3.0, 6.5)):
        figures = [{"figure": "api start", "head": head}]
        append_run(tmp_path, {**document(day, 100.0), "schema": 2, "figures": figures})
    points = read_history(tmp_path)["here", "api start"]
    assert [(point.value, point.more_is_worse) for point in points] == [(6.0, True), (6.5, True)]


def test_a_rate_that_the_load_sets_is_no_throughput_of_the_service(tmp_path: Path) -> None:
    given = {"cell": "latency[load=70]", "now_per_s": 70.0, "status": "informs", "rate_is_given": True}
    run = document(0, 100.0)
    append_run(tmp_path, {**run, "schema": 2, "cells": [*run["cells"], given]})
    assert list(read_history(tmp_path)) == [("here", CELL)]

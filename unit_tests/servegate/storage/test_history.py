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
    assert [(point.began[:10], point.throughput_per_s) for point in points] == [
        ("2026-01-01", 100.0),
        ("2026-01-03", 102.0),
    ]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 2}'])
def test_what_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(HistoryError, match=r"odd\.json"):
        read_history(tmp_path)

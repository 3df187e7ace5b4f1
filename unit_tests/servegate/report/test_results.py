"""What results.json holds."""

import json
from dataclasses import replace

import pytest

from servegate.errors import ProcessError
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GROWTH, TAIL
from servegate.records import Cell, Status, Verdict
from servegate.report.headline import headline
from unit_tests.builders.runs.findings import make_cell, make_figure, make_group
from unit_tests.builders.runs.run_documents import RESULTS, SLOWER_STAGES, STAGES, document
from unit_tests.builders.runs.sample_runs import VALUES, slower_predict
from unit_tests.builders.runs.samples import make_sample, make_samples


def test_it_is_json_and_comes_back_as_it_was() -> None:
    made = document()
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_a_figure_that_is_none_is_null() -> None:
    nan = Verdict(Status.NOT_JUDGED, "why", now_per_s=float("nan"))
    cell = CellResult(Cell("api", "concurrency", 1), "requests", make_samples([100.0]), nan)
    assert document([cell])["cells"][0]["now_per_s"] is None


@pytest.mark.parametrize(
    ("others", "verdict"),
    [((), "PASS"), ((RESULTS[5],), "INVALID"), ((RESULTS[2], RESULTS[5]), "REGRESSED")],
)
def test_its_verdict_is_that_of_its_worst_cell(others: tuple[CellResult, ...], verdict: str) -> None:
    made = document([*RESULTS[:2], RESULTS[4], *others])
    assert made["verdict"] == verdict
    assert made["failed"] is (verdict != "PASS")


def test_a_figure_beside_throughput_has_its_values_and_may_fail_the_run() -> None:
    figures = [
        make_figure(),
        make_figure(GROWTH, Status.REGRESSED, (20_000.0, 18_000.0, 22_000.0)),
        make_figure(TAIL, Status.NOT_JUDGED, None),
    ]
    made = document(RESULTS[:2], figures=figures)
    start, growth, tail = made["figures"]
    assert (start["figure"], start["group"], start["name"], start["unit"]) == ("api start", "api", "start", "%")
    assert (start["base"], start["head"], start["margin"]) == (pytest.approx(6.15), pytest.approx(6.35), 0.1)
    assert start["head_processes"] == [6.2, 6.3, 6.4, 6.5]
    assert (growth["status"], growth["fails"], growth["change"]["estimate"]) == ("REGRESSED", True, 20_000.0)
    assert (tail["change"], tail["base"], tail["fails"]) == (None, None, False)
    assert (made["verdict"], made["failed"]) == ("REGRESSED", True)
    assert (document(RESULTS[:2], figures=figures[::2])["verdict"]) == "PASS"


def test_a_compared_cell_tells_where_a_requests_time_goes_in_both_arms() -> None:
    """The parts' sum is the request's time; what was only measured has no base."""
    stages = document()["cells"][2]["stages"]
    assert [stage["name"] for stage in stages] == ["decode", "queue", "predict", "rest"]
    assert sum(stage["now"]["ms"] for stage in stages) == pytest.approx(10.0)
    assert stages[0]["now"] == pytest.approx({"ms": 2.5, "cpu_ms": 2.375})
    assert stages[0]["base"] == pytest.approx({"ms": 2.0, "cpu_ms": 1.9})
    change = stages[0]["change_of_cpu_time"]
    assert change["estimate"] == pytest.approx(0.25)
    assert change["low"] <= change["estimate"] <= change["high"]
    assert stages[1]["now"]["cpu_ms"] is stages[1]["change_of_cpu_time"] is None


def test_a_measured_cell_tells_its_stages_alone() -> None:
    samples = [replace(make_sample(), stages=stages) for stages in (STAGES, SLOWER_STAGES)]
    cell = CellResult(Cell("api", "concurrency", 1), "requests", samples, Verdict(Status.PASS, "", 100.0))
    decode = document([cell])["cells"][0]["stages"][0]
    assert decode["now"] == pytest.approx({"ms": 2.25, "cpu_ms": 2.1375})
    assert decode["base"] is decode["change_of_time"] is None


def test_a_cells_figures_are_those_that_were_judged() -> None:
    cell = document()["cells"][2]
    assert (cell["cell"], cell["group"], cell["parameter"], cell["value"]) == (
        "api[concurrency=1]",
        "api",
        "concurrency",
        1,
    )
    assert (cell["now_per_s"], cell["baseline_per_s"], cell["status"], cell["fails"]) == (
        pytest.approx(80),
        pytest.approx(100),
        "REGRESSED",
        True,
    )
    assert cell["change"]["estimate"] == pytest.approx(-0.180, abs=0.005)
    assert cell["now"]["gpu_energy_j_per_unit"] == pytest.approx(50 / 80)
    assert cell["base"]["latency_p95_ms"] == 20.25
    assert [pair["log_ratio"] for pair in cell["pairs"]] == [-0.2, -0.199, -0.198]


def test_what_was_not_measured_is_named() -> None:
    assert document()["not_measured"] == ["api[concurrency=64]"]


def test_it_says_when_what_and_against_what() -> None:
    made = document()
    assert (made["began"], made["minutes"]) == ("2026-03-01T12:00:00+00:00", 7.5)
    assert made["compared_with"] == {
        "kind": "baseline",
        "reference": "0123456789abcdef",
        "commit": "0123456789abcdef",
        "subject": "The `accepted` <state>",
        "path": "b/baseline.json",
    }
    assert made["differences"] == [
        {"name": "python", "then": "none", "now": "3"},
        {"name": "torch", "then": "1", "now": "2"},
    ]


def test_a_cell_names_its_ceiling_and_whether_its_rate_was_given() -> None:
    bounded, given = (replace(RESULTS[0], **said) for said in ({"ceiling": "disk"}, {"rate_is_given": True}))
    cells = document([bounded, given])["cells"]
    assert [(cell["ceiling"], cell["rate_is_given"]) for cell in cells] == [("disk", False), (None, True)]


def test_a_group_has_its_verdict_and_what_it_excludes() -> None:
    made = slower_predict()
    assert made["groups"][0] == {
        "group": "model",
        "status": "REGRESSED",
        "reason": "slower than the base",
        "evidence": ["line of evidence"],
        "change": {"estimate": -0.108, "low": -0.114, "high": -0.101},
        "margin": 0.02,
        "excludes": 0.03,
        "excluded": 0.012,
        "pairs": 3,
        "pair_spread": 0.009,
        "cells": [f"model[batch={value}]" for value in VALUES],
    }
    assert made["cells"][0]["excludes"] == 0.1


def test_a_groups_verdict_counts_for_the_run_and_only_a_cells_fails_it() -> None:
    made = document([make_cell()], groups=[make_group("api", Status.REGRESSED)])
    assert (made["verdict"], made["failed"]) == ("REGRESSED", False)


def test_it_has_the_sentence_by_what_fails_the_run_and_by_the_arms() -> None:
    arms = {"base": {"api engine": "a"}, "head": {"api engine": "b"}}
    cells = [make_cell("api", 1, Status.INCONCLUSIVE)]
    made = document(cells, arms=arms, failing={Status.INCONCLUSIVE})
    assert made["sentence"].startswith("`api` runs with engine b instead of a; the run failed: it can't tell whether")
    assert made["arms"] == arms


def test_a_group_that_could_not_be_measured_makes_the_run_invalid() -> None:
    """The other groups passed."""
    made = document(RESULTS[:2], errors={"api": ProcessError("the server died\nits log"), "photo": KeyError()})
    assert (made["verdict"], made["failed"]) == ("INVALID", True)
    assert headline(made) == "INVALID: 2 groups could not be measured, 0 of 2 cells, 1 not measured"
    assert made["errors"] == {"api": "the server died\nits log", "photo": "KeyError"}
    assert made["sentence"].startswith(
        "`api` could not be measured: the server died; `photo` could not be measured: KeyE"
    )

"""The certificate and its parts: records that come back, stock rules, the page."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servegate.errors import MeasurementError
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.measure.pair_plan import Schedule
from servegate.records import Cell, StageTime
from tools.calibration import __main__ as command
from tools.calibration.attribution import (
    Attribution,
    append_attribution,
    certify_attributions,
    read_attributions,
)
from tools.calibration.certificate.certify import certify
from tools.calibration.certificate.measured import describe_bias, describe_live
from tools.calibration.certificate.page import write_page
from tools.calibration.certificate.stock_rules import RETRIED, red_runs
from tools.calibration.lines import append_line
from tools.calibration.live import SCHEMA as RUN_SCHEMA
from tools.calibration.live import RunRecord, first_pairs, usable_runs
from tools.calibration.pairs import SCHEMA, append_pair, read_pairs, usable_pairs
from tools.calibration.simulation.conditions import CELLS as SYNTHETIC_CELLS
from tools.calibration.simulation.conditions import GROUPS, certify_conditions
from unit_tests.builders.repository import ROOT
from unit_tests.builders.runs.recorded_pairs import CELLS, JUDGED_CELLS, SCHEDULE, keep_api_cells, make_pairs
from unit_tests.builders.runs.samples import make_sample

POLICY = Policy(groups=2, cells=len(CELLS))
# Three pairs in which decode needs 10 % more.
SLOWER_DECODE = tuple(
    (
        {"decode": StageTime(3.0, 2.0 * noise), "predict": StageTime(90.0, 9.0), "queue": StageTime(4.0, None)},
        {"decode": StageTime(3.0, 2.2), "predict": StageTime(90.0, 9.0 * noise), "queue": StageTime(5.0, None)},
    )
    for noise in (0.995, 1.0, 1.005)
)


def make_pair_figure() -> PairFigure:
    """One cell of one pair."""
    sample = make_sample(100.0)
    return PairFigure(0.1, (0.05, 0.15), sample, sample, seconds=2.0, start_seconds=9.5)


def test_a_recorded_pair_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "pairs.jsonl"
    assert read_pairs(path) == []
    recorded = make_pairs(2)
    for record in recorded:
        append_pair(path, record)
    assert read_pairs(path) == recorded


def test_a_whole_runs_pairs_are_recorded_up_to_its_first_look() -> None:
    """Of the cells that were compared, whether they were decided there or later."""
    figure = make_pair_figure()
    figures = [
        {"cell": "model[batch=8]", "pairs": [figure.to_json()] * 3},
        {"cell": "api[concurrency=8]", "pairs": [figure.to_json()] * 8},
        {"cell": "latency[load=70]", "pairs": []},
    ]
    recorded = first_pairs(json.loads(json.dumps(figures)), 3)
    assert [list(pair) for pair in recorded] == [["model[batch=8]", "api[concurrency=8]"]] * 3
    cell = recorded[0]["model[batch=8]"]
    assert (cell.log_ratio, cell.blocks, cell.base_per_s) == (0.1, (0.05, 0.15), (100.0,) * 5)
    assert (cell.seconds, cell.start_seconds) == (2.0, 9.5)


@pytest.mark.parametrize(("log_ratio", "pairs"), [(math.nan, 3), (0.1, 1)])
def test_a_whole_run_in_which_a_cell_has_no_figure_gives_no_pairs(log_ratio: float, pairs: int) -> None:
    """A wrong answer ends its cell at the first pair, with a figure that is none."""
    figure = make_pair_figure()
    figures = [
        {"cell": "model[batch=8]", "pairs": [figure.to_json()] * 3},
        {"cell": "api[concurrency=8]", "pairs": [replace(figure, log_ratio=log_ratio).to_json()] * pairs},
    ]
    assert first_pairs(json.loads(json.dumps(figures)), 3) == []


def test_records_belong_together_by_schema_bursts_and_cells_and_not_by_the_services_tree(tmp_path: Path) -> None:
    """Those with more blocks than the schedule has are of use, those with fewer are not."""
    path, cells = (
        tmp_path / "pairs.jsonl",
        list(JUDGED_CELLS),
    )
    names = [str(cell) for cell in cells]
    (recorded,) = make_pairs(1)
    one = replace(recorded, cells={name: recorded.cells[name] for name in names})
    usable = [
        one,
        replace(one, service_tree="another tree"),
        replace(one, blocks=one.blocks + 1),
        replace(one, kind="decode+25%", cells={names[1]: one.cells[names[1]]}),
        replace(one, cells={names[0]: one.cells[names[0]]}),  # from before there was an API to measure
    ]
    others = [
        replace(one, schema=SCHEMA + 1),
        replace(one, blocks=one.blocks - 1),
        replace(one, burst_s=one.burst_s + 0.1),
        replace(one, cells={names[1]: one.cells[names[1]]}),
        replace(one, kind="decode+10%", cells={"other[x=1]": one.cells[names[0]]}),
    ]
    for record in [*others, *usable]:
        append_pair(path, record)
    assert usable_pairs(path, Schedule(one.burst_s, one.blocks), cells) == usable


def test_live_runs_belong_together_by_schema_and_cells(tmp_path: Path) -> None:
    path, cell = tmp_path / "runs.jsonl", Cell("model", "batch", 8)
    one = RunRecord("same", "tree", "2026-01-01T00:00:00+00:00", 5.0, 0, {str(cell): "PASS"}, "Nothing changed.")
    informed = replace(one, verdicts={**one.verdicts, "latency[load=70]": "informs"})
    usable = [one, informed, replace(one, service_tree="another tree")]
    for record in [*usable, replace(one, schema=RUN_SCHEMA - 1), replace(one, verdicts={"other[x=1]": "PASS"})]:
        append_line(path, asdict(record))
    assert usable_runs(path, [cell]) == usable


def test_records_without_a_schema_are_of_the_first(tmp_path: Path) -> None:
    """As they stand in the repository."""
    path = tmp_path / "pairs.jsonl"
    (recorded,) = make_pairs(1)
    line = asdict(recorded)
    del line["schema"]
    append_line(path, line)
    assert read_pairs(path) == [replace(recorded, schema=1)]


def test_a_line_that_was_cut_off_is_named(tmp_path: Path) -> None:
    """And never taken for the end of the record."""
    path = tmp_path / "pairs.jsonl"
    append_pair(path, make_pairs(1)[0])
    with path.open("a") as file:
        file.write('{"kind":"sa')
    with pytest.raises(MeasurementError, match=r"pairs\.jsonl:2 is no record"):
        read_pairs(path)


def test_attributions_come_back_as_they_were(tmp_path: Path) -> None:
    attribution = Attribution("decode", 0.0, 2.5, "tree", "2026-01-01", CELLS[1], SLOWER_DECODE)
    path = tmp_path / "new" / "attributions.jsonl"
    assert read_attributions(path) == []
    append_attribution(path, attribution)
    append_attribution(path, replace(attribution, pairs=()))
    assert read_attributions(path) == [attribution, replace(attribution, pairs=())]
    assert [item.is_right(0.03) for item in read_attributions(path)] == [True, False]


def test_the_gates_own_settings_and_cells_are_asked_of_pytest() -> None:
    """In a process of its own: pytest doesn't run inside pytest."""
    program = (
        "import pathlib, sys; from tools.calibration.gate_settings import ask_gate; "
        "settings, cells, given = ask_gate(pathlib.Path(sys.argv[1])); print(settings.judging.looks, *cells, *given)"
    )
    # To pytest-benchmark a child of a parallel test's process would look like one more of them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-c", program, ROOT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    sizes = (1, 8, 32, 64)
    model, api = [f"model[batch={size}]" for size in sizes], [f"api[concurrency={size}]" for size in sizes]
    photo = [f"photo[kind={kind}]" for kind in ("phone", "screenshot", "small")]
    looks = ["(4,", "5,", "7,", "10,", "15,", "22)"]
    assert result.stdout.split() == [*looks, *model, *api, *photo, "latency[load=70]"]


class TestStockRules:
    """On processes that differ by 10 %."""

    def test_rules_on_means_cry_wolf_on_identical_code(self) -> None:
        recorded = make_pairs(40)
        red = red_runs(recorded, recorded)
        assert np.mean(red["pytest-benchmark mean:5%"]) > 0.4
        assert len(red[RETRIED]) == 39

    def test_retrying_until_green_is_blind(self) -> None:
        recorded, slower = make_pairs(40), make_pairs(40, "predict+4%", effect=-0.1)
        red = red_runs(recorded, slower)
        assert np.mean(red[RETRIED]) < np.mean(red["pytest-benchmark mean:5%"])


def test_all_recorded_classes_are_certified_again_and_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified: list[Path] = []
    monkeypatch.setattr(command, "_certify", certified.append)
    monkeypatch.setattr(command, "_record", lambda *_: pytest.fail("something was recorded"))
    for name in ("one class", "another"):
        append_pair(tmp_path / name / "pairs.jsonl", make_pairs(1)[0])
    (tmp_path / "without pairs").mkdir()
    assert command.main(["--certify-all", "--records", str(tmp_path)]) == 0
    assert certified == [tmp_path / "another", tmp_path / "one class"]


@pytest.fixture(scope="module")
def certificate() -> dict[str, Any]:
    """Of a calm machine, on which one live run was recorded."""
    recorded = [
        *make_pairs(12, noise=0.01),
        *make_pairs(6, "predict+4%", effect=-0.04, noise=0.01),
        *keep_api_cells(make_pairs(6, "decode+25%", effect=-0.1, noise=0.01)),
    ]
    run = RunRecord("same", "tree", "", 7.5, 0, dict.fromkeys(CELLS, "PASS"), "Nothing <changed>.")
    policies = POLICY, FigurePolicy()
    return certify(recorded, [run] * 12, JUDGED_CELLS, *policies, SCHEDULE, {}, runs_simulated=100, bootstraps=3)


def test_the_certificate_has_false_alarms_power_and_minutes(certificate: dict[str, Any]) -> None:
    identical, slower = certificate["simulated"]["identical_code"], certificate["simulated"]["slower_code"]
    assert identical["regressed"] == {"count": 0, "of": 100, "share": 0.0, "low": 0.0, "high": 0.0295}
    low, high = identical["bootstrap"]["median minutes"]
    assert low <= identical["minutes"]["median"] <= high
    assert identical["minutes"]["median"] <= identical["minutes"]["95 %"]
    assert list(slower) == [
        *(f"all cells {percent}% slower" for percent in (1, 2, 3, 10)),
        *(f"{group} 3% slower" for group in ("model", "api")),
        *(f"{cell} 10% slower" for cell in CELLS),
    ]
    assert slower["all cells 10% slower"]["regressed"]["share"] == 1.0
    in_api = slower["api 3% slower"]
    assert in_api["regressed_groups"]["model"]["share"] < 0.05 < 0.5 < in_api["regressed_groups"]["api"]["share"]
    alone = slower[f"{CELLS[2]} 10% slower"]["regressed_cells"]
    assert alone[CELLS[0]]["share"] < 0.05 < 0.9 < alone[CELLS[2]]["share"]


@pytest.mark.parametrize(
    ("kind", "verdicts", "figures", "found"),
    [
        ("late 1%", {}, {"latency lateness": "REGRESSED"}, 1),
        ("late 1%", {"photo[kind=phone]": "REGRESSED"}, {"api memory": "REGRESSED"}, 0),
        ("large photos in full", {"photo[kind=phone]": "REGRESSED"}, {}, 1),
        ("all four", {"photo[kind=phone]": "REGRESSED"}, dict.fromkeys(("api tail", "api growth"), "REGRESSED"), 0),
        (
            "all four",
            {"photo[kind=phone]": "REGRESSED"},
            dict.fromkeys(("api tail", "api growth", "api start"), "REGRESSED"),
            1,
        ),
    ],
)
def test_a_live_run_has_found_a_fault_by_the_figure_that_is_meant_to_show_it(
    kind: str, verdicts: dict[str, str], figures: dict[str, str], found: int
) -> None:
    """Several at once only if each of them is found."""
    run = RunRecord(kind, "tree", "", 7.5, 1, {**dict.fromkeys(CELLS, "PASS"), **verdicts}, figures=figures)
    assert describe_live(kind, [run])["found"]["count"] == found


def test_the_certificate_has_what_was_measured(certificate: dict[str, Any]) -> None:
    assert certificate["recorded_pairs"] == {"same": 12, "predict+4%": 6, "decode+25%": 6}
    assert certificate["live"]["same"]["red"] == {"count": 0, "of": 12, "share": 0.0, "low": 0.0, "high": 0.2646}
    assert certificate["injected"]["predict+4%"]["model[batch=8]"]["change"] == pytest.approx(-0.04, abs=0.01)
    assert list(certificate["injected"]["decode+25%"]) == list(CELLS[1:])
    assert certificate["stock_rules"]["pytest-benchmark mean:5%"]["same"]["of"] == 11
    assert certificate["stock_rules"]["pytest-benchmark mean:5%"]["decode+25%"]["of"] == 5
    assert "NaN" not in json.dumps(certificate)


@pytest.mark.parametrize(
    ("shift", "noise", "verdict"),
    [
        (0.0, 0.001, "within"),
        (0.01, 0.001, "beyond"),
        (-0.01, 0.001, "beyond"),
        (0.0, 0.03, "unknown"),
        (0.003, 0.002, "unknown"),
        (-0.003, 0.002, "unknown"),
    ],
)
def test_a_bias_of_identical_code_is_excluded_found_or_neither(shift: float, noise: float, verdict: str) -> None:
    bias = describe_bias(make_pairs(20, effect=shift, noise=noise, block_noise=0.001), "api")
    assert bias["verdict"] == verdict
    assert bias["low"] < bias["change"] < bias["high"]
    assert bias["change"] == pytest.approx(shift, abs=noise)


def test_a_bias_is_that_of_the_groups_own_cells() -> None:
    model, *_ = CELLS
    recorded = [
        replace(pair, cells={**pair.cells, model: replace(pair.cells[model], blocks=(0.5, 0.5001))})
        for pair in make_pairs(20, effect=0.01, noise=1e-4, block_noise=1e-4)
    ]
    assert describe_bias(recorded, "api")["change"] == pytest.approx(np.expm1(0.01), abs=2e-4)


def test_a_bootstrap_says_how_much_depends_on_the_pairs_that_were_recorded() -> None:
    certificate = certify(
        make_pairs(5), [], JUDGED_CELLS, POLICY, FigurePolicy(), SCHEDULE, {}, runs_simulated=200, bootstraps=8
    )
    low, high = certificate["simulated"]["identical_code"]["bootstrap"]["median minutes"]
    assert low < high


def test_the_page_shows_what_the_certificate_has(tmp_path: Path, certificate: dict[str, Any]) -> None:
    page = tmp_path / "certificate.html"
    facts = {
        "machine_class": "a <b>",
        "commit": "0123456789abcdef",
        "service_trees": {"fedcba9876543210": 1},
        "budget_minutes": 45.0,
    }
    right = Attribution("decode", 0.1, 0.0, "tree", "", CELLS[1], SLOWER_DECODE)
    attribution = certify_attributions([right, replace(right, stage="predict"), replace(right, share=0.2)], 0.03)
    policy = Policy(groups=len(GROUPS), cells=len(SYNTHETIC_CELLS))
    synthetic = json.loads(json.dumps(certify_conditions(policy, 2, lambda _: None)))
    write_page(page, {**facts, **certificate, "attribution": attribution}, synthetic)
    text = page.read_text()
    assert "a &lt;b&gt;, commit 0123456789ab" in text.replace("</b>", "").replace("<b>", "")
    assert "<tr><td>REGRESSED</td><td>0.00% (≤ 2.95%)</td>" in text
    assert "<tr><td>all cells 10% slower</td><td>100.0% (≥ 97.0%)</td>" in text
    assert "<td>all cells, opposite modes, r = 0.8</td><td>" in text
    assert "<td>same</td><td>12</td><td>0 of 12 [0%, 26%]</td>" in text
    assert "<li>same: Nothing &lt;changed&gt;.</li>" in text
    assert "<td>decode</td><td>2 of 2 [16%, 100%]</td>" in text
    assert "<td>predict</td><td>0 of 1 [0%, 98%]</td>" in text
    assert "<td>all</td><td>2 of 3 [9%, 99%]</td>" in text
    assert "predict +10% +0 ms in api[concurrency=8]: decode +10.0% [" in text
    assert not re.search(r"""<script|<link|src=|url\(['"]?http|href=['"]?http""", text)  # nothing is fetched
    write_page(page, {**facts, **certificate, "live": {}, "attribution": None}, None)
    less = page.read_text()
    assert "No live whole run is recorded yet." in less
    assert "Not simulated yet" in less
    assert "Which stage" in text
    assert "Which stage" not in less

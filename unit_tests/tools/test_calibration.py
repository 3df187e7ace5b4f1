"""The certificate's parts: records that come back, simulated runs and stock rules."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from servegate.errors import MeasurementError
from servegate.judging.judge import Policy
from servegate.judging.pairs import PairFigure
from servegate.measure.side_by_side import Schedule
from servegate.records import Cell, StageTime, Status
from tools.calibration.attribution import (
    Attribution,
    append_attribution,
    certify_attributions,
    read_attributions,
)
from tools.calibration.certify import certify
from tools.calibration.lines import append_line
from tools.calibration.live import RunRecord, first_pairs, read_runs, usable_runs
from tools.calibration.page import write_page
from tools.calibration.pairs import SCHEMA, CellPair, PairRecord, append_pair, read_pairs, usable_pairs
from tools.calibration.simulate import Noise, simulate_run
from tools.calibration.stock_rules import RETRIED, red_runs
from unit_tests.builders.repository import ROOT
from unit_tests.builders.samples import make_sample

CELLS = ("model[batch=8]", "api[concurrency=8]", "api[concurrency=64]")
POLICY = Policy(gated_cells=len(CELLS))
# Three pairs in which decode needs 10 % more.
SLOWER_DECODE = tuple(
    (
        {"decode": StageTime(3.0, 2.0 * noise), "predict": StageTime(90.0, 9.0), "queue": StageTime(4.0, None)},
        {"decode": StageTime(3.0, 2.2), "predict": StageTime(90.0, 9.0 * noise), "queue": StageTime(5.0, None)},
    )
    for noise in (0.995, 1.0, 1.005)
)


def pair(rng: np.random.Generator, kind: str = "same", effect: float = 0.0, noise: float = 0.03) -> PairRecord:
    """Fresh processes that differ by 10 %, and a pair's figure that doesn't know of it."""
    cells = {}
    for cell in CELLS:
        log_ratio = effect + noise * rng.standard_normal()
        speed = 100 * np.exp(0.1 * rng.standard_normal())
        rounds = np.exp(0.03 * rng.standard_normal((2, 12)))
        cells[cell] = CellPair(
            log_ratio=log_ratio,
            blocks=tuple(log_ratio + 0.06 * rng.standard_normal(6)),
            base_per_s=tuple(speed * rounds[0]),
            head_per_s=tuple(speed * np.exp(effect) * rounds[1]),
            seconds=10.0,
            start_seconds={"model": 10.0, "api": 20.0}[cell.partition("[")[0]],
        )
    return PairRecord(kind, "tree", "2026-01-01T00:00:00+00:00", 0.3, 6, cells)


def pairs(count: int, kind: str = "same", effect: float = 0.0, noise: float = 0.03) -> list[PairRecord]:
    rng = np.random.default_rng(3)
    return [pair(rng, kind, effect, noise) for _ in range(count)]


def only_api(recorded: list[PairRecord]) -> list[PairRecord]:
    """As pairs of a slowdown that the model alone doesn't meet."""
    return [replace(one, cells={cell: one.cells[cell] for cell in CELLS[1:]}) for one in recorded]


def make_pair_figure() -> PairFigure:
    """Two blocks, one of which stood still."""
    sample = make_sample(100.0)
    return PairFigure(0.1, (0.05, 0.15, math.inf), sample, sample, seconds=2.0, start_seconds=9.5)


def test_a_recorded_pair_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "pairs.jsonl"
    assert read_pairs(path) == []
    recorded = pairs(2)
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


def test_records_belong_together_by_schema_schedule_and_cells_and_not_by_the_services_tree(tmp_path: Path) -> None:
    path, cells = tmp_path / "pairs.jsonl", [Cell("model", "batch", 8), Cell("api", "concurrency", 8)]
    names = [str(cell) for cell in cells]
    assert set(names) <= set(CELLS)
    (recorded,) = pairs(1)
    one = replace(recorded, cells={name: recorded.cells[name] for name in names})
    usable = [
        one,
        replace(one, service_tree="another tree"),
        replace(one, kind="decode+10%", cells={names[1]: one.cells[names[1]]}),
    ]
    others = [
        replace(one, schema=SCHEMA + 1),
        replace(one, blocks=one.blocks + 1),
        replace(one, burst_s=one.burst_s + 0.1),
        replace(one, cells={names[0]: one.cells[names[0]]}),
        replace(one, kind="decode+10%", cells={"other[x=1]": one.cells[names[0]]}),
    ]
    for record in [*others, *usable]:
        append_pair(path, record)
    assert usable_pairs(path, Schedule(one.burst_s, one.blocks), cells) == usable


def test_live_runs_belong_together_by_schema_and_cells(tmp_path: Path) -> None:
    path, cell = tmp_path / "runs.jsonl", Cell("model", "batch", 8)
    one = RunRecord("same", "tree", "2026-01-01T00:00:00+00:00", 5.0, 0, {str(cell): "PASS"})
    usable = [one, replace(one, service_tree="another tree")]
    for record in [*usable, replace(one, schema=SCHEMA + 1), replace(one, verdicts={"other[x=1]": "PASS"})]:
        append_line(path, asdict(record))
    assert usable_runs(path, [cell]) == usable


def test_records_without_a_schema_are_of_the_first(tmp_path: Path) -> None:
    """As they stand in the repository."""
    path = tmp_path / "pairs.jsonl"
    (recorded,) = pairs(1)
    line = asdict(recorded)
    del line["schema"]
    append_line(path, line)
    assert read_pairs(path) == [replace(recorded, schema=1)]


def test_a_line_that_was_cut_off_is_named(tmp_path: Path) -> None:
    """And never taken for the end of the record."""
    path = tmp_path / "pairs.jsonl"
    append_pair(path, pairs(1)[0])
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
        "settings, cells = ask_gate(pathlib.Path(sys.argv[1])); print(settings.judging.looks, *cells)"
    )
    # To pytest-benchmark a child of a parallel test's process would look like one more of them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-c", program, ROOT], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    sizes = (1, 8, 32, 64)
    model, api = [f"model[batch={size}]" for size in sizes], [f"api[concurrency={size}]" for size in sizes]
    assert result.stdout.split() == ["(3,", "5,", "8,", "12,", "20)", *model, *api]


class TestNoise:
    """What runs are drawn from."""

    def test_drawn_pairs_have_the_recorded_spread(self) -> None:
        recorded = pairs(30)
        noise = Noise.from_pairs(recorded)
        drawn, variances = noise.draw(np.random.default_rng(0), 20_000)
        wanted = np.sqrt(np.mean(np.square(noise.log_ratios), axis=0))
        assert drawn.std(axis=0) == pytest.approx(wanted, rel=0.05)
        assert drawn.mean(axis=0) == pytest.approx(0.0, abs=0.002)
        assert variances.mean(axis=0) == pytest.approx(noise.variances.mean(axis=0), rel=0.05)

    def test_drawn_pairs_keep_the_correlation_between_cells(self) -> None:
        common = np.random.default_rng(1).standard_normal((40, 1)) * 0.03
        ratios = np.repeat(common, len(CELLS), axis=1)
        noise = Noise(CELLS, ratios, np.zeros_like(ratios), {"model": 1.0}, dict.fromkeys(CELLS, 1.0))
        drawn, _ = noise.draw(np.random.default_rng(0), 1000)
        assert np.asarray(np.corrcoef(drawn.T))[0, 1] == pytest.approx(1.0)

    def test_a_slowdowns_own_effect_is_no_noise(self) -> None:
        noise = Noise.from_pairs(pairs(20, "predict+10%", effect=-0.1))
        assert np.median(noise.log_ratios, axis=0) == pytest.approx([0.0] * len(CELLS))

    def test_what_is_not_a_cell_of_a_pair_is_its_start(self) -> None:
        assert Noise.from_pairs(pairs(3)).start_s == {"model": 10.0, "api": 20.0}

    def test_cells_that_not_every_pair_has_are_left_out(self) -> None:
        noise = Noise.from_pairs([*pairs(3), *only_api(pairs(3))])
        assert noise.cells == CELLS[1:]
        assert noise.start_s == {"api": 20.0}

    def test_the_noise_of_some_cells_is_theirs(self) -> None:
        noise = Noise.from_pairs(pairs(5))
        part = noise.only(CELLS[2:])
        assert part.cells == CELLS[2:]
        assert part.log_ratios.ravel() == pytest.approx(noise.log_ratios[:, 2])
        assert part.variances.ravel() == pytest.approx(noise.variances[:, 2])


class TestSimulatedRun:
    """One whole run on drawn pairs."""

    def test_without_noise_identical_code_passes_at_the_first_look(self) -> None:
        outcome = simulate_run(POLICY, Noise.from_pairs(pairs(9)).scaled(1e-6), {}, 60, np.random.default_rng(0))
        assert set(outcome.statuses.values()) == {Status.PASS}
        assert not outcome.is_red
        assert outcome.minutes == pytest.approx(3 * (20 + 40) / 60)

    def test_a_large_slowdown_is_found_in_its_cell_alone(self) -> None:
        noise = Noise.from_pairs(pairs(9, noise=0.01))
        outcome = simulate_run(POLICY, noise, {CELLS[1]: np.log(0.7)}, 60, np.random.default_rng(0))
        assert [outcome.statuses[cell] for cell in CELLS] == [Status.PASS, Status.REGRESSED, Status.PASS]
        assert outcome.is_red

    def test_what_is_open_when_the_budget_ends_is_inconclusive(self) -> None:
        noise = Noise.from_pairs(pairs(9, noise=0.3))
        outcome = simulate_run(POLICY, noise, {}, 2, np.random.default_rng(0))
        assert Status.INCONCLUSIVE in outcome.statuses.values()
        assert outcome.minutes <= 2 * 2


class TestStockRules:
    """On processes that differ by 10 %."""

    def test_rules_on_means_cry_wolf_on_identical_code(self) -> None:
        recorded = pairs(40)
        red = red_runs(recorded, recorded)
        assert np.mean(red["pytest-benchmark mean:5%"]) > 0.4
        assert len(red[RETRIED]) == 39

    def test_retrying_until_green_is_blind(self) -> None:
        recorded, slower = pairs(40), pairs(40, "predict+10%", effect=-0.1)
        red = red_runs(recorded, slower)
        assert np.mean(red[RETRIED]) < np.mean(red["pytest-benchmark mean:5%"])


def test_the_certificate_of_a_slowdown_in_some_cells() -> None:
    """The others run beside it as identical code: they take time, and aren't found."""
    recorded = [*pairs(12, noise=0.01), *only_api(pairs(6, "decode+10%", effect=-0.1, noise=0.01))]
    certificate = certify(recorded, [], POLICY, budget_min=30, runs_simulated=20, bootstraps=2)
    decode = certificate["simulated"]["power"]["noise of a slower decode"]["20%"]
    everywhere = certificate["simulated"]["power"]["noise of identical code"]["20%"]
    assert list(decode["regressed"]) == list(CELLS[1:])
    assert decode["median_minutes"] == everywhere["median_minutes"]
    assert list(certificate["injected"]["decode+10%"]) == list(CELLS[1:])
    assert certificate["stock_rules"]["pytest-benchmark mean:5%"]["decode+10%"]["of"] == 5


def test_the_certificate_has_what_was_measured_beside_what_was_simulated(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    run = RunRecord("same", "tree", "2026-01-01T00:00:00+00:00", 7.5, 0, dict.fromkeys(CELLS, "PASS"))
    for _ in range(12):
        append_line(runs, asdict(run))
    recorded = [*pairs(12), *pairs(6, "predict+10%", effect=-0.1)]
    certificate = certify(recorded, read_runs(runs), POLICY, budget_min=30, runs_simulated=40, bootstraps=3)
    assert certificate["recorded_pairs"] == {"same": 12, "predict+10%": 6}
    assert certificate["live"]["same"]["red"] == {"count": 0, "of": 12, "low": 0.0, "high": 0.2646}
    power = certificate["simulated"]["power"]
    assert power["noise of identical code"]["20%"]["regressed"]["model[batch=8]"] > 0.9
    assert "noise of a slower predict" in power
    identical = certificate["simulated"]["identical_code"]["red"]
    assert identical["low"] <= identical["high"]
    assert certificate["injected"]["predict+10%"]["model[batch=8]"]["change"] == pytest.approx(-0.1, abs=0.03)
    assert certificate["stock_rules"]["pytest-benchmark mean:5%"]["same"]["of"] == 11
    assert "NaN" not in json.dumps(certificate)
    page = tmp_path / "certificate.html"
    facts = {"machine_class": "a <b>", "commit": "0123456789abcdef", "service_tree": "fedcba9876543210"}
    right = Attribution("decode", 0.1, 0.0, "tree", "", CELLS[1], SLOWER_DECODE)
    attribution = certify_attributions([right, replace(right, stage="predict"), replace(right, share=0.2)], 0.03)
    write_page(page, {**facts, **certificate, "attribution": attribution})
    text = page.read_text()
    assert "a &lt;b&gt;, commit 0123456789ab" in text.replace("</b>", "").replace("<b>", "")
    for cell in CELLS:
        assert f"<td>{cell}</td><td>{power['noise of identical code']['3%']['regressed'][cell]:.0%}</td>" in text
    assert "<td>decode</td><td>2 of 2 [16%, 100%]</td>" in text
    assert "<td>predict</td><td>0 of 1 [0%, 98%]</td>" in text
    assert "<td>all</td><td>2 of 3 [9%, 99%]</td>" in text
    assert "predict +10% +0 ms in api[concurrency=8]: decode +10.0% [" in text
    write_page(page, {**facts, **certificate, "attribution": None})
    assert "Which stage" in text
    assert "Which stage" not in page.read_text()
    assert "<td>same</td><td>12</td><td>0 of 12 [0%, 26%]</td>" in text
    assert not re.search(r"""<script|<link|src=|url\(['"]?http|href=['"]?http""", text)  # nothing is fetched

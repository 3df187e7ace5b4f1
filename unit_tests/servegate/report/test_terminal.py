"""What the terminal shows at the end of a run."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GROWTH, TAIL
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.judging.policy import Policy
from servegate.judging.screen import screen_group
from servegate.records import Cell, GpuUse, MachineLoad, Sample, Status, Verdict
from servegate.report.terminal import write_summary
from servegate.storage.baselines import Baseline
from servegate.storage.commits import CommitIdentity
from unit_tests.builders.runs.findings import make_cell, make_figure, make_group
from unit_tests.builders.runs.samples import make_sample, make_samples

STORED = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)
LATENCY_70 = Cell("latency", "load", 70)
API_1, API_8, MODEL_8 = Cell("api", "concurrency", 1), Cell("api", "concurrency", 8), Cell("model", "batch", 8)
BASELINE = Baseline(
    Path("baselines/here/baseline.json"), {}, CommitIdentity("0123456789abcdef", "t", "l"), {"torch": "2.1", "old": "1"}
)
SENTENCE = (
    "`predict` takes 9.4 % more CPU time [9.1, 9.7]; `model` loses 10.1 to 11.4 % of its throughput, "
    "`api` 3.7 to 5.4 %."
)
UNITS = {"api": "requests", "model": "images", "latency": "requests"}
CEILINGS = {"api": "model", "latency": "model"}


def judged(cell: Cell, samples: Sequence[Sample]) -> CellResult:
    verdict = screen_group(Policy(), {str(cell): STORED}, {cell: samples})[cell]
    return CellResult(cell, UNITS[cell.group], samples, verdict, ceiling=CEILINGS.get(cell.group))


def not_judged(cell: Cell, samples: Sequence[Sample]) -> CellResult:
    verdict = Verdict(Status.NOT_JUDGED, "not asked", now_per_s=samples[0].throughput_per_s)
    return CellResult(cell, UNITS[cell.group], samples, verdict, ceiling=CEILINGS.get(cell.group))


def show(
    config: pytest.Config,
    results: Sequence[CellResult],
    baseline: Baseline | None = None,
    details: dict[str, str] | None = None,
    versus: str | None = None,
    groups: Sequence[GroupResult] = (),
    figures: Sequence[FigureResult] = (),
) -> list[str]:
    """The lines below the run's sentence."""
    file = io.StringIO()
    reporter = pytest.TerminalReporter(config, file)
    write_summary(reporter, SENTENCE, results, groups, figures, baseline=baseline, details=details or {}, versus=versus)
    heading, *lines = file.getvalue().splitlines()
    assert " performance " in heading
    sentence, below = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert " ".join(sentence) == SENTENCE
    assert max(map(len, sentence)) <= 80
    return below


def test_what_others_used_of_the_machine_is_told(pytestconfig: pytest.Config) -> None:
    file = io.StringIO()
    load = MachineLoad(cores=2, before_cores=0.9, during_cores=0.853, most_cores=1.2)
    results = [judged(API_1, make_samples([101.0, 101.0]))]
    write_summary(pytest.TerminalReporter(pytestconfig, file), SENTENCE, results, baseline=None, details={}, load=load)
    line = "Other programs used 0.85 of 2 cores (0.90 before)."
    assert line in file.getvalue().splitlines()


def row(lines: Sequence[str], cell: Cell) -> str:
    return next(line for line in lines if line.startswith(f"{cell} "))


def test_a_row_for_each_cell_with_its_figures_and_verdict(pytestconfig: pytest.Config) -> None:
    results = [judged(API_1, make_samples([101.0, 101.0])), judged(API_8, make_samples([1234.4, 1234.4]))]
    lines = show(pytestconfig, results)
    assert row(lines, API_1).split() == ["api[concurrency=1]", "101.0", "9.5", "20.2", "30.8", "1.50", "+1.0%", "PASS"]
    assert row(lines, API_8).split()[1] == "1234"
    assert row(lines, API_8).split()[-1] == "IMPROVED"


def test_a_row_for_each_figure_in_its_own_unit_and_a_reason_where_it_fails(pytestconfig: pytest.Config) -> None:
    figures = [
        make_figure(),
        make_figure(GROWTH, Status.REGRESSED, (20_000.0, 18_000.0, 22_000.0), reason="memory is kept"),
        make_figure(TAIL, Status.NOT_JUDGED, None),
    ]
    lines = show(pytestconfig, [judged(API_1, make_samples([101.0, 101.0]))], versus="main", figures=figures)
    shown = [line.split() for line in lines if line.startswith("api ")]
    assert shown[0] == ["api", "start", "-", "-", "-", "-", "-", "+1", "%", "PASS"]
    assert shown[1][-3:] == ["+20", "KB", "REGRESSED"]
    assert shown[2][-3:] == ["-", "not", "judged"]
    assert "api growth REGRESSED: memory is kept" in lines
    assert any("throughput, or the named figure, against commit main" in line for line in [" ".join(lines)])


def test_columns_are_aligned_cell_and_verdict_to_the_left_numbers_to_the_right(pytestconfig: pytest.Config) -> None:
    results = [judged(MODEL_8, make_samples([5.0])), judged(API_8, make_samples([100.0]))]
    heading, *rows = show(pytestconfig, results)[:3]
    columns = heading.split("  ")
    assert heading.startswith("cell ")
    assert len(columns) > 2
    for line in rows:
        assert line.index("[") < heading.index("per s")
        assert re.search(r"\d$", line[: heading.index("per s") + len("per s")])
        assert line[heading.index("verdict") - 1] == " "
        assert line[heading.index("verdict") :] in list(Status)


def test_the_table_fits_80_columns(pytestconfig: pytest.Config) -> None:
    slow = [make_sample(9999.0, gpu=GpuUse(99.0, 10**9, 50.0, 1.0))]
    table = show(pytestconfig, [judged(Cell("api", "concurrency", 64), slow), judged(API_1, make_samples([1.0]))])[:3]
    assert max(map(len, table)) <= 80


def test_columns_without_a_value_in_any_row_are_left_out(pytestconfig: pytest.Config) -> None:
    heading, *_ = show(pytestconfig, [not_judged(API_1, make_samples([100.0]))])
    assert "GPU" not in heading
    assert "change" not in heading
    with_gpu = make_sample(gpu=GpuUse(utilisation_percent=87.4, memory_bytes=1, power_w=None, energy_j=None))
    lines = show(pytestconfig, [judged(API_1, [with_gpu]), judged(API_8, make_samples([100.0]))])
    assert "GPU" in lines[0]
    assert "change" in lines[0]
    assert "87 %" in row(lines, API_1)
    assert " - " in row(lines, API_8)


def test_the_legend_explains_the_columns_that_are_shown(pytestconfig: pytest.Config) -> None:
    gpu = GpuUse(utilisation_percent=87.4, memory_bytes=1, power_w=None, energy_j=None)
    for results, explained in (
        ([not_judged(MODEL_8, make_samples([1.0]))], "per s: images; p50, p95, p99: latency in ms; CPU: cores in use"),
        (
            [not_judged(API_1, [make_sample(gpu=gpu)]), not_judged(MODEL_8, [make_sample(answers=0)])],
            "per s: requests or images; p50, p95, p99: latency in ms; ok: right answers; CPU: "
            "cores in use; GPU: utilisation",
        ),
    ):
        lines = show(pytestconfig, results)[len(results) + 1 :]
        assert " ".join(lines).partition(" api[")[0] == explained
        assert max(map(len, lines[:-1]), default=0) <= 80


@pytest.mark.parametrize(
    ("baseline", "versus", "reference"), [(BASELINE, None, "the baseline"), (None, "HEAD~1", "commit HEAD~1")]
)
def test_the_legend_names_what_the_change_is_against(
    pytestconfig: pytest.Config, baseline: Baseline | None, versus: str | None, reference: str
) -> None:
    lines = show(pytestconfig, [judged(API_1, make_samples([100.0]))], baseline, {}, versus)
    assert " ".join(lines[2:4]).endswith(f"; change: throughput against {reference}")


def test_wrong_answers_show_their_share_and_no_throughput(pytestconfig: pytest.Config) -> None:
    samples = [make_sample(failures=["wrong"], answers=400), make_sample(100.0)]
    lines = show(pytestconfig, [judged(API_1, samples)])
    assert "99.8%" in row(lines, API_1)
    assert "100.0" not in row(lines, API_1)
    assert "api[concurrency=1] INVALID: 1 of 600 answers were wrong or failed: wrong" in lines


@pytest.mark.parametrize(
    ("throughput_per_s", "status"), [(50.0, Status.REGRESSED), (150.0, Status.IMPROVED), (100.0, Status.PASS)]
)
def test_whatever_needs_a_reader_has_its_reason_in_a_line(
    pytestconfig: pytest.Config, throughput_per_s: float, status: Status
) -> None:
    result = judged(API_1, make_samples([throughput_per_s]))
    note = f"api[concurrency=1] {status}: {result.verdict.reason}"
    assert (note in show(pytestconfig, [result], BASELINE)) == (status is not Status.PASS)


def test_the_best_cell_of_a_group_is_shown_as_a_share_of_its_ceilings_best(pytestconfig: pytest.Config) -> None:
    results = [
        not_judged(API_1, make_samples([20.0])),
        not_judged(API_8, make_samples([60.0])),
        not_judged(MODEL_8, make_samples([80.0])),
        not_judged(Cell("model", "batch", 1), make_samples([40.0])),
    ]
    share = "api[concurrency=8] reaches 75% of model[batch=8]: 60.0 requests/s of 80.0 images/s"
    assert any(line.startswith(share) for line in show(pytestconfig, results))


def test_a_group_is_compared_with_its_ceiling_in_cpu_of_server_and_client_too(pytestconfig: pytest.Config) -> None:
    """1.5 cores of the server and 0.3 of its client at 60 a second are 30 core-ms each; 1.5 at 75 are 20."""
    results = [
        not_judged(API_8, [make_sample(60.0, client_cores=[0.1, 0.2])] * 3),
        not_judged(MODEL_8, make_samples([75.0])),
    ]
    assert (
        "api[concurrency=8] reaches 80% of model[batch=8]: 60.0 requests/s of 75.0 images/s, "
        "30.0 core-ms of CPU each against 20.0"
    ) in show(pytestconfig, results)


def test_an_informing_cell_needs_no_reader_unless_it_has_no_figure(pytestconfig: pytest.Config) -> None:
    informing = replace(not_judged(LATENCY_70, make_samples([75.0])), verdict=Verdict(Status.INFORMS, "why", 75.0))
    lines = show(pytestconfig, [informing])
    assert row(lines, LATENCY_70).split()[-1] == "informs"
    assert "latency[load=70] informs: why" not in lines
    without = replace(informing, verdict=Verdict(Status.INFORMS, "the client was the bottleneck"))
    assert "latency[load=70] informs: the client was the bottleneck" in show(pytestconfig, [without])


def test_without_a_ceiling_that_is_measured_or_a_rate_that_can_reach_it_there_is_no_share(
    pytestconfig: pytest.Config,
) -> None:
    model = not_judged(MODEL_8, make_samples([20.0]))
    for results in (
        [not_judged(API_1, make_samples([20.0]))],
        [model],
        [model, replace(not_judged(API_1, make_samples([20.0])), ceiling=None)],
        [model, replace(not_judged(LATENCY_70, make_samples([20.0])), rate_is_given=True)],
        [model, judged(API_1, [make_sample(failures=["wrong"])])],
    ):
        assert not any("reaches" in line for line in show(pytestconfig, results))


def test_the_baselines_commit_and_what_differs_from_its_machine_is_shown(pytestconfig: pytest.Config) -> None:
    """A new torch explains a slowdown; it doesn't excuse it."""
    result = [judged(API_1, make_samples([100.0]))]
    lines = show(pytestconfig, result, BASELINE, {"torch": "2.2", "new": "3"})
    assert "baseline: commit 0123456789ab, baselines/here/baseline.json" in lines
    assert [line.partition("machine: ")[2] for line in lines if "differs" in line] == [
        "new none -> 3",
        "old 1 -> none",
        "torch 2.1 -> 2.2",
    ]
    assert not any("differs" in line for line in show(pytestconfig, result, BASELINE, dict(BASELINE.details)))


def test_without_a_baseline_nothing_is_said_about_one(pytestconfig: pytest.Config) -> None:
    lines = show(pytestconfig, [not_judged(API_1, make_samples([100.0]))])
    assert not any(line.startswith(("baseline", "differs")) for line in lines)


def test_a_group_has_a_row_and_its_reason_with_evidence_its_cells_only_a_row(pytestconfig: pytest.Config) -> None:
    """A group's finding is told once; another verdict of one of its cells has its own line."""
    slow, other = make_group("api", Status.REGRESSED, (-0.05, -0.06, -0.04), values=(1, 8)), make_group("model")
    cells = [
        make_cell("api", 1, Status.REGRESSED, (-0.05, -0.08, -0.02), reason="by its group"),
        make_cell("api", 8, Status.INVALID, reason="wrong answers"),
        make_cell("model"),
    ]
    lines = show(pytestconfig, cells, groups=[slow, other])
    rows = [line.split() for line in lines if line.startswith(("api ", "model "))]
    assert [(row[0], *row[-2:]) for row in rows[:2]] == [("api", "-5.0%", "REGRESSED"), ("model", "+0.1%", "PASS")]
    place = lines.index("api REGRESSED: the reason")
    assert lines[place + 1] == "    line of evidence"
    assert "by its group" not in "".join(lines)
    assert "api[load=8] INVALID: wrong answers" in lines
    assert not any(line.startswith("model PASS") for line in lines)

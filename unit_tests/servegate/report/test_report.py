"""The report of a run: the document, the page and the summary that are made of it."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import ReportError
from servegate.judging.cell_result import CellResult
from servegate.judging.judge import Policy, judge, judge_pairs
from servegate.judging.pairs import PairFigure
from servegate.records import Cell, Fingerprint, GpuUse, StageTime, Status, Verdict
from servegate.report.folder import write_report
from servegate.report.page import render_page
from servegate.report.results import RunFacts, results_document
from servegate.report.summary import headline, render_summary
from unit_tests.builders.samples import make_sample, make_samples
from unit_tests.builders.tiny_project import TinyProject

STORED = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GPU = GpuUse(utilisation_percent=87.0, memory_bytes=2**30, power_w=50.0, energy_j=1.0)

STAGES = {"decode": StageTime(2.0, 1.9), "queue": StageTime(1.0, None), "predict": StageTime(5.0, 9.0)}
SLOWER_STAGES = {**STAGES, "decode": StageTime(2.5, 2.375)}


def screened(cell: Cell, per_s: float) -> CellResult:
    """A cell that the stored baseline judged."""
    samples = make_samples([per_s, per_s * 1.01])
    return CellResult(cell, "images", samples, judge(Policy(), STORED, samples))


def compared(cell: Cell, log_ratio: float) -> CellResult:
    """A cell that was compared side by side in three pairs."""
    base, head = make_sample(100.0, gpu=GPU), make_sample(100.0 * (1 + log_ratio), client_cpu_cores=0.3, gpu=GPU)
    base, head = replace(base, stages=STAGES), replace(head, stages=SLOWER_STAGES)
    pairs = [PairFigure(log_ratio + 0.001 * number, (0.0, 0.01), base, head, 1.0) for number in range(3)]
    verdict = judge_pairs(Policy(), [pair.log_ratio for pair in pairs], [1e-5] * 3, last=True)
    assert verdict is not None
    verdict = replace(verdict, now_per_s=100.0 * (1 + log_ratio), baseline_per_s=100.0)
    return CellResult(cell, "requests", [head] * 3, verdict, pairs)


RESULTS = (
    screened(Cell("model", "batch", 1), 100.3),
    screened(Cell("model", "batch", 8), 100.2),
    compared(Cell("api", "concurrency", 1), -0.20),
    compared(Cell("api", "concurrency", 8), 0.001),
    CellResult(Cell("disk", "files", 64), "files", make_samples([120.0]), Verdict(Status.INFORMS, "it informs", 120.0)),
    CellResult(
        Cell("latency", "percent", 70),
        "requests",
        [make_sample(failures=["wrong: <b>dog</b>"])],
        Verdict(Status.INVALID, "1 answer was <wrong>\n--- its log ends with ---\n/home/somebody/secret"),
    ),
)


def document(results: Sequence[CellResult] = RESULTS, **facts: Any) -> dict[str, Any]:
    """That of a run with these cells, of nine selected."""
    known: dict[str, Any] = {
        "began": BEGAN,
        "ended": BEGAN + timedelta(minutes=7.5),
        "exit_status": 1,
        "arguments": ["perf_tests", "--benchmark-compare", "-k", "not <b>"],
        "commit": "fedcba9876543210",
        "is_changed": True,
        "compared_with": {"kind": "baseline", "reference": "0123456789abcdef", "path": "b/baseline.json"},
        "rule": {"margin": 0.03, "error_level": 0.01, "looks": [3, 5], "strict": False},
        "fingerprint": Fingerprint("A CPU", 2, None, 0, {"torch": "2", "python": "3"}),
        "differences": [("python", "none", "3"), ("torch", "1", "2")],
        "selected": [*(result.cell for result in results), Cell("api", "concurrency", 64)],
        "failing": {Status.REGRESSED, Status.INVALID},
        **facts,
    }
    return results_document(RunFacts(**known), results)


def figure_at(made: Any, place: str) -> float:
    """The figure that a page names, as in `cells.0.now_per_s`."""
    for key in place.split("."):
        made = made[int(key)] if key.isdigit() else made[key]
    return float(made)


class TestDocument:
    """What results.json holds."""

    def test_it_is_json_and_comes_back_as_it_was(self) -> None:
        made = document()
        assert json.loads(json.dumps(made, allow_nan=False)) == made

    def test_a_figure_that_is_none_is_null(self) -> None:
        nan = Verdict(Status.NOT_JUDGED, "why", now_per_s=float("nan"))
        cell = CellResult(Cell("api", "concurrency", 1), "requests", make_samples([100.0]), nan)
        assert document([cell])["cells"][0]["now_per_s"] is None

    @pytest.mark.parametrize(
        ("others", "verdict"),
        [((), "PASS"), ((RESULTS[5],), "INVALID"), ((RESULTS[2], RESULTS[5]), "REGRESSED")],
    )
    def test_its_verdict_is_that_of_its_worst_cell(self, others: tuple[CellResult, ...], verdict: str) -> None:
        made = document([*RESULTS[:2], RESULTS[4], *others])
        assert made["verdict"] == verdict
        assert made["failed"] is (verdict != "PASS")

    def test_a_compared_cell_tells_where_a_requests_time_goes_in_both_arms(self) -> None:
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

    def test_a_measured_cell_tells_its_stages_alone(self) -> None:
        samples = [replace(make_sample(), stages=stages) for stages in (STAGES, SLOWER_STAGES)]
        cell = CellResult(Cell("api", "concurrency", 1), "requests", samples, Verdict(Status.PASS, "", 100.0))
        decode = document([cell])["cells"][0]["stages"][0]
        assert decode["now"] == pytest.approx({"ms": 2.25, "cpu_ms": 2.1375})
        assert decode["base"] is decode["change_of_time"] is None

    def test_a_cells_figures_are_those_that_were_judged(self) -> None:
        cell = document()["cells"][2]
        assert (cell["cell"], cell["group"], cell["parameter"], cell["value"]) == (
            "api[concurrency=1]",
            "api",
            "concurrency",
            1,
        )
        assert (cell["now_per_s"], cell["baseline_per_s"], cell["status"], cell["fails"]) == (
            80,
            100,
            "REGRESSED",
            True,
        )
        assert cell["change"]["estimate"] == pytest.approx(-0.180, abs=0.005)
        assert cell["now"]["gpu_energy_j_per_unit"] == pytest.approx(50 / 80)
        assert cell["base"]["latency_p95_ms"] == 20.25
        assert [pair["log_ratio"] for pair in cell["pairs"]] == [-0.2, -0.199, -0.198]

    def test_what_was_not_measured_is_named(self) -> None:
        assert document()["not_measured"] == ["api[concurrency=64]"]

    def test_it_says_when_what_and_against_what(self) -> None:
        made = document()
        assert (made["began"], made["minutes"]) == ("2026-03-01T12:00:00+00:00", 7.5)
        assert made["compared_with"] == {
            "kind": "baseline",
            "reference": "0123456789abcdef",
            "path": "b/baseline.json",
        }
        assert made["differences"] == [
            {"name": "python", "then": "none", "now": "3"},
            {"name": "torch", "then": "1", "now": "2"},
        ]


class TestSummary:
    """What a pull request shows."""

    def test_the_verdict_comes_first(self) -> None:
        first, _, second, *_ = render_summary(document()).splitlines()
        assert first == "## REGRESSED: 1 of 5 cells, 1 not measured"
        assert second == (
            "Commit fedcba987654 with uncommitted changes, compared with the baseline of commit 0123456789ab, "
            "on a-cpu-2-cores-no-gpu, in 7.5 minutes."
        )

    def test_a_row_for_each_cell_and_what_fails_is_bold(self) -> None:
        lines = render_summary(document()).splitlines()
        (row,) = (line for line in lines if line.startswith("| `api[concurrency=1]`"))
        assert re.fullmatch(
            r"\| `api\[concurrency=1\]` \| 80.0 \| 100.0 \| -18.0% \[-\d+.\d%, -\d+.\d%\] \| 20.2 "
            r"\| \*\*REGRESSED\*\* \|",
            row,
        )
        assert len([line for line in lines if line.startswith("| `")]) == len(RESULTS)

    def test_only_what_needs_a_reader_has_its_reason(self) -> None:
        text = render_summary(document())
        assert text.count("<details>") == 2
        assert "1 answer was &lt;wrong>" in text
        assert "secret" not in text  # a log's tail stays on the machine

    def test_without_a_commit_it_is_the_working_tree(self) -> None:
        assert "The working tree, compared" in render_summary(document(commit=None))


class TestPage:
    """index.html."""

    def test_every_figure_is_the_documents(self) -> None:
        made = document()
        figures = re.findall(r'<data value="([^"]+)" data-place="([^"]+)">', render_page(made))
        assert len(figures) > 60
        assert all(float(value) == figure_at(made, place) for value, place in figures)

    def test_it_fetches_nothing_and_runs_nothing(self) -> None:
        page = render_page(document())
        assert not re.search(r"<script|<link|<img|src=|@import|url\((?!#)|href=['\"]?(?!#)\w", page)

    def test_what_others_wrote_is_text(self) -> None:
        page = render_page(document())
        assert "<wrong>" not in page
        assert html.escape("pytest perf_tests --benchmark-compare -k 'not <b>'") in page

    def test_what_fails_is_open(self) -> None:
        details = re.findall(r"<details( open)?><summary><b>([^<]+)</b>", render_page(document()))
        assert [cell for is_open, cell in details if is_open] == ["api[concurrency=1]", "latency[percent=70]"]
        assert len(details) == len(RESULTS)

    def test_a_name_in_a_plot_is_there_once(self) -> None:
        names = re.findall(r' id="([^"]+)"', render_page(document()))
        assert len(names) == len(set(names))

    def test_plots_have_the_pages_text_colour(self) -> None:
        page = render_page(document())
        assert "#010203" not in page
        assert "currentColor" in page

    @pytest.mark.parametrize(
        ("results", "titles"),
        [
            (RESULTS[:1], ["Change of throughput, with 95 % intervals", "CPU in use"]),
            (RESULTS[4:5], ["CPU in use"]),
            (
                RESULTS[2:4],
                [
                    "Change of throughput, with 95 % intervals",
                    "Throughput: api",
                    "Latency: api",
                    "CPU time of a request, by stage",
                    "Time of a request, by stage",
                    "CPU in use",
                    "GPU in use",
                ],
            ),
        ],
    )
    def test_there_are_plots_of_what_there_are_cells_for(
        self, results: Sequence[CellResult], titles: Sequence[str]
    ) -> None:
        assert re.findall("<figcaption>([^<]+)</figcaption>", render_page(document(results))) == titles

    def test_columns_without_a_figure_are_left_out(self) -> None:
        assert "GPU, W" in render_page(document())
        assert "GPU, W" not in render_page(document(RESULTS[:2]))


class TestFolder:
    """Where the report is."""

    def test_it_holds_the_document_the_summary_and_the_page(self, tmp_path: Path) -> None:
        made = document()
        write_report(tmp_path / "a" / "report", made)
        folder = tmp_path / "a" / "report"
        assert json.loads((folder / "results.json").read_text()) == made
        assert (folder / "summary.md").read_text() == render_summary(made)
        assert (folder / "index.html").read_text() == render_page(made)
        assert headline(made) in (folder / "index.html").read_text()

    def test_git_does_not_see_it(self, tmp_path: Path) -> None:
        write_report(tmp_path, document())
        assert (tmp_path / ".gitignore").read_text() == "*\n"

    def test_a_folder_that_cannot_be_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ReportError, match=r"no report in .*/file: File exists"):
            write_report(tmp_path / "file", document())


class TestRuns:
    """Real runs of pytest."""

    def test_a_run_says_where_its_report_is(self, tiny_project: TinyProject) -> None:
        tiny_project.commit()
        result = tiny_project.run("perf_tests", "--perf-report", "there")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines([f"report: {tiny_project.root}/there/index.html"])
        made = json.loads((tiny_project.root / "there" / "results.json").read_text())
        assert (made["verdict"], made["exit_status"], made["changed"]) == ("not judged", 0, False)
        assert [cell["cell"] for cell in made["cells"]] == [
            "model[batch=8]",
            "api[concurrency=1]",
            "api[concurrency=8]",
        ]
        assert {"perf_tests", "--perf-report", "there"} <= set(made["arguments"])

    def test_a_report_that_cannot_be_written_changes_no_verdict(self, tiny_project: TinyProject) -> None:
        tiny_project.write("file", "")
        result = tiny_project.run("perf_tests", "--perf-report", "file")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["no report in */file: File exists"])

    def test_a_baseline_can_be_accepted_beside_a_report(self, tiny_project: TinyProject) -> None:
        """The report's own folder is no change of the working tree."""
        tiny_project.commit()
        assert tiny_project.run("perf_tests", "--perf-report", "there").ret == pytest.ExitCode.OK
        result = tiny_project.run("perf_tests", "--perf-accept", "--perf-report", "there")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["accepted: *"])

    def test_unit_tests_leave_no_report(self, tiny_project: TinyProject) -> None:
        tiny_project.run("unit_tests", "--perf-report", "there")
        assert not (tiny_project.root / "there").exists()

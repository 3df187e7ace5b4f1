"""The report's folder, by hand and in real runs of pytest."""

import json
from pathlib import Path

import pytest

from servegate.errors import ReportError
from servegate.report.folder import write_report
from servegate.report.headline import headline
from servegate.report.run_page import render_run
from servegate.report.summary import render_summary
from unit_tests.builders.runs.run_documents import RESULTS, document
from unit_tests.builders.tiny_project import TinyProject


def test_it_holds_the_document_the_summary_and_the_page(tmp_path: Path) -> None:
    made = document(RESULTS[4:5])
    write_report(tmp_path / "a" / "report", made)
    folder = tmp_path / "a" / "report"
    assert json.loads((folder / "results.json").read_text()) == made
    assert (folder / "summary.md").read_text() == render_summary(made)
    assert (folder / "index.html").read_text() == render_run(made)
    assert headline(made) in (folder / "index.html").read_text()


def test_git_does_not_see_it(tmp_path: Path) -> None:
    write_report(tmp_path, document(RESULTS[4:5]))
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"no report in .*/file: File exists"):
        write_report(tmp_path / "file", document())


def test_a_run_says_where_its_report_is(tiny_project: TinyProject) -> None:
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


def test_a_report_that_cannot_be_written_changes_no_verdict(tiny_project: TinyProject) -> None:
    tiny_project.write("file", "")
    result = tiny_project.run("perf_tests", "--perf-report", "file")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["no report in */file: File exists"])


def test_a_baseline_can_be_accepted_beside_a_report(tiny_project: TinyProject) -> None:
    """The report's own folder is no change of the working tree."""
    tiny_project.commit()
    assert tiny_project.run("perf_tests", "--perf-report", "there").ret == pytest.ExitCode.OK
    result = tiny_project.run("perf_tests", "--perf-accept", "--perf-report", "there")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["accepted: *"])


def test_without_matplotlib_a_run_leaves_a_page_that_says_how_to_get_plots(tiny_project: TinyProject) -> None:
    tiny_project.write("no_plots.py", "import sys\n\nsys.modules['matplotlib'] = None\n")
    result = tiny_project.run_as_process("-p", "no_plots", "perf_tests", "--perf-report", "there")
    assert result.ret == pytest.ExitCode.OK
    folder = tiny_project.root / "there"
    assert json.loads((folder / "results.json").read_text())["verdict"] == "not judged"
    assert "not judged: 3 of 3 cells" in (folder / "summary.md").read_text()
    page = (folder / "index.html").read_text()
    assert "pip install 'servegate[report]'" in page
    assert "api[concurrency=8]" in page
    assert "<figure" not in page


def test_unit_tests_leave_no_report(tiny_project: TinyProject) -> None:
    tiny_project.run("unit_tests", "--perf-report", "there")
    assert not (tiny_project.root / "there").exists()

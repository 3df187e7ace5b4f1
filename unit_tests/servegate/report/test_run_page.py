"""The page of a run, index.html."""

import html
import re

import pytest

from servegate.judging.cell_result import CellResult
from servegate.records import Cell, Status, Verdict
from servegate.report.run_page import render_run
from unit_tests.builders.run_documents import RESULTS, document, figure_at


@pytest.fixture(scope="module")
def page() -> str:
    return render_run(document())


def test_every_figure_is_the_documents(page: str) -> None:
    made = document()
    figures = re.findall(r'<data value="([^"]+)" data-place="([^"]+)">', page)
    assert len(figures) > 60
    assert all(float(value) == figure_at(made, place) for value, place in figures)


def test_it_fetches_nothing_and_runs_nothing(page: str) -> None:
    assert not re.search(r"<script|<link|<img|src=|@import|url\((?!#)|href=['\"]?(?!#)\w", page)


def test_what_others_wrote_is_text(page: str) -> None:
    assert "<wrong>" not in page
    shown = [html.unescape(text) for text in re.findall(r"<pre>([^<]*)</pre>", page)]
    assert shown[-1] == "pytest perf_tests --benchmark-compare -k 'not <b>'"
    assert shown[-2].startswith("1 answer was <wrong>\n")


def test_notes_and_names_that_others_chose_are_text() -> None:
    made = document(RESULTS[:1], notes=["a <note>"])
    made["cells"][0] |= {"cell": "<cell>", "unit": "<unit>", "parameter": "<parameter>"}
    made["machine"]["details"] = {"<name>": "<detail>"}
    made["differences"] = [{"name": "<name>", "then": "<then>", "now": "<detail>"}]
    page = render_run(made)
    names = ("note", "cell", "unit", "parameter", "name", "detail", "then")
    assert [name for name in names if f"<{name}>" in page] == []
    assert "&lt;detail&gt; (baseline: &lt;then&gt;)" in page


def test_what_fails_is_open(page: str) -> None:
    details = re.findall(r"<details( open)?><summary><b>([^<]+)</b>", page)
    assert [cell for is_open, cell in details if is_open] == ["api[concurrency=1]", "latency[percent=70]"]
    assert len(details) == len(RESULTS)


def test_a_cells_evidence_stands_below_its_reason(page: str) -> None:
    verdict = RESULTS[2].verdict
    assert len(verdict.evidence) > 1
    assert html.escape("\n".join((verdict.reason, *verdict.evidence))) in page


def test_a_name_in_a_plot_is_there_once(page: str) -> None:
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names)) > 0


def test_a_plot_has_its_title_for_who_cannot_see_it(page: str) -> None:
    titles = re.findall("<figcaption>([^<]+)</figcaption>", page)
    assert re.findall(r'<div role="img" aria-label="([^"]+)"><svg', page) == titles
    assert titles


def test_plots_have_the_pages_text_colour(page: str) -> None:
    assert "#010203" not in page
    assert "currentColor" in page


def test_columns_that_tell_nothing_are_left_out(page: str) -> None:
    not_measured = CellResult(Cell("disk", "files", 1), "files", (), Verdict(Status.NO_BASELINE, "no base"))
    without_gpu = render_run(document([RESULTS[0], not_measured]))
    for heading in ("GPU, W", "right answers"):
        assert f"<th>{heading}</th>" in page
        assert f"<th>{heading}</th>" not in without_gpu


def test_a_stage_stands_with_its_cell_once(page: str) -> None:
    _, _, table = page.partition('<th class="name">stage</th>')
    rows = re.findall(r'<tr><td>([^<]*)</td><td class="name">([^<]+)</td>', table)
    assert rows[:5] == [
        ("api[concurrency=1]", "decode"),
        ("", "queue"),
        ("", "predict"),
        ("", "rest"),
        ("api[concurrency=8]", "decode"),
    ]

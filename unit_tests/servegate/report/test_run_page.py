"""The page of a run, index.html."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GROWTH
from servegate.judging.slow_answers import with_common_limit
from servegate.records import Cell, Status, Verdict
from servegate.report.run_page import render_run
from servegate.report.summary import render_summary
from unit_tests.builders.runs.findings import make_figure
from unit_tests.builders.runs.run_documents import RESULTS, document, figure_at
from unit_tests.builders.runs.sample_runs import VALUES, identical_code, noisy_machine, slower_predict
from unit_tests.builders.runs.samples import make_sample

OLD_RUNS = Path(__file__).parent / "written_by_perfgate"


@pytest.fixture(scope="module")
def page() -> str:
    return render_run(document())


def test_every_figure_is_the_documents(page: str) -> None:
    made = document()
    figures = re.findall(r'<data value="([^"]+)" data-place="([^"]+)">', page)
    assert len(figures) > 60
    assert all(float(value) == figure_at(made, place) for value, place in figures)


def test_what_was_judged_beside_throughput_has_a_table_in_its_own_units() -> None:
    figures = [make_figure(), make_figure(GROWTH, Status.REGRESSED, (20_000.0, 18_000.0, 22_000.0))]
    made = document(figures=figures)
    page = render_run(made)
    shown = dict(re.findall(r'data-place="(figures[^"]+)">([^<]+)<', page))
    assert shown["figures.0.head"] == "6.35 s"
    assert shown["figures.0.change.estimate"] == "+1 %"
    assert shown["figures.1.change.low"] == "+18 KB"
    places = re.findall(r'<data value="([^"]+)" data-place="(figures[^"]+)">', page)
    assert all(float(value) == figure_at(made, place) for value, place in places)
    assert "besides throughput" not in render_run(document())


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


def test_evidence_is_folded_for_groups_and_cells(page: str) -> None:
    details = re.findall(r"<details( open)?><summary><b>([^<]+)</b>", page)
    assert [name for _, name in details] == [str(result.cell) for result in RESULTS]
    assert not any(is_open for is_open, _ in details)
    assert "<b>model</b>" in render_run(slower_predict())


def test_the_sentence_is_the_heading_and_its_names_are_marked() -> None:
    page = render_run(slower_predict())
    (heading,) = re.findall("<h1>(.*)</h1>", page)
    assert heading.startswith("<code>predict</code> takes 9.4\N{NO-BREAK SPACE}% more CPU time")
    assert "(<code>Requests go to a worker through a table in shared memory</code>)" in page


def test_changed_files_are_folded_and_requests_stand_with_the_machine() -> None:
    request = {"kind": None, "weight": 1.0, "method": "POST", "path": "/predict", "body_bytes": 35212}
    kinds = [{**request, "kind": "png"}, {**request, "kind": "<x>", "method": "PUT", "body_bytes": 88}]
    requests = {"api": [request], "photo": kinds}
    page = render_run(document(changed_files=["a.py", "<b>.py"], requests=requests))
    assert "<details><summary>2 changed files</summary>\n<pre>a.py\n&lt;b&gt;.py</pre></details>" in page
    assert '<td>sent to api</td><td class="text">POST /predict, 35.2 kB</td>' in page
    assert "png: POST /predict, 35.2 kB; &lt;x&gt;: PUT /predict, 88 bytes" in page
    assert "changed file" not in render_run(document())


def test_the_rest_of_a_request_is_explained(page: str) -> None:
    assert '<td class="name">rest (HTTP, queues, client)</td>' in page


def test_a_pass_whose_interval_crosses_the_margin_says_why() -> None:
    note = "its interval may cross the margin"
    assert note not in render_run(identical_code())
    made = identical_code()
    made["groups"][0]["change"] |= {"low": -0.025}
    assert note in render_run(made)


def test_the_second_column_of_the_first_table_is_the_change() -> None:
    rows = re.findall(r'<th scope="row">([^<]+)</th>\s*<td class="change">(.*?)</td>', render_run(slower_predict()))
    shown = [(name, re.sub("<[^>]+>", "", change)) for name, change in rows]
    assert shown[0] == ("model", "-10.8% [-11.4, -10.1]")
    assert [name for name, _ in shown] == [
        *("model", *(f"model[batch={value}]" for value in VALUES)),
        *("api", *(f"api[concurrency={value}]" for value in VALUES)),
    ]


def test_verdicts_have_shapes_and_words_beside_colours() -> None:
    marks: dict[str, str] = {}
    for make in (slower_predict, identical_code, noisy_machine):
        for mark, word in re.findall(r'<td class="verdict"><svg[^>]*>(.*?)</svg> ([A-Z]+)</td>', render_run(make())):
            assert marks.setdefault(word, mark) == mark
    assert len(set(marks.values())) == len(marks) == 3


def test_an_older_document_still_makes_a_page_and_a_summary() -> None:
    """Its plots are left out: it was written by a run of one process."""
    made = json.loads(next(OLD_RUNS.glob("*.json")).read_text())
    assert "sentence" not in made
    assert "<h1>not judged: 3 of 3 cells.</h1>" in render_run(made)
    assert render_summary(made).startswith("## not judged: 3 of 3 cells.\n")


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
        ("", "rest (HTTP, queues, client)"),
        ("api[concurrency=8]", "decode"),
    ]


def test_the_base_shares_of_slow_answers_stand_beside_the_limit() -> None:
    usual = replace(make_sample(), latencies_ms=(10.0,) * 100 + (300.0,))
    late = replace(make_sample(), latencies_ms=(10.0,) * 100 + (310.0, 320.0, 330.0))
    result = CellResult(Cell("api", "concurrency", 8), "requests", [late], Verdict(Status.PASS, ""), bases=[usual])
    page = render_run(document([with_common_limit(result), RESULTS[1]]))
    headings = re.findall(r"<th>([^<]+)</th>", page)
    assert headings[headings.index("slow answers") :][:3] == ["slow answers", "base", "beyond, ms"]
    for name, shown in (("now.slow_share", "2.9%"), ("base.slow_share", "0.0%"), ("slow_ms", "309.7")):
        assert re.search(rf"cells.0.{name}[^>]*>{shown}<", page), name

"""What a pull request shows."""

import re

import pytest

from servegate.judging.figures.kinds import GROWTH
from servegate.records import MachineLoad, Status
from servegate.report.run_page import render_run
from servegate.report.summary import render_summary
from unit_tests.builders.runs.findings import make_cell, make_figure, make_group
from unit_tests.builders.runs.run_documents import RESULTS, document
from unit_tests.builders.runs.sample_runs import slower_predict


def test_the_runs_sentence_comes_first() -> None:
    made = slower_predict()
    first, _, second, *_ = render_summary(made).splitlines()
    assert first == f"## {made['sentence']}"
    assert second == (
        "REGRESSED: 2 of 2 groups, 8 of 8 cells. Commit 94f1c7de3b0a, compared side by side with main, 5b16c9bc7c7c "
        "(`Requests go to a worker through a table in shared memory`), on amd-epyc-2-cores-no-gpu, in 7.5 minutes. "
        "Other programs used 0.03 of 2 cores (0.04 before)."
    )


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["a.py"], "Changed: `a.py`"),
        (["a`b.py", "c.py"], "Changed: `a'b.py` and `c.py`"),
        ([f"{number}.py" for number in range(12)], "Changed: `0.py`, `1.py`, "),
    ],
)
def test_changed_files_are_named(files: list[str], line: str) -> None:
    (shown,) = (text for text in render_summary(document(changed_files=files)).splitlines() if "Changed" in text)
    assert shown.startswith(line)
    assert shown.endswith("`9.py` and 2 more") or len(files) < 12


def test_an_allowed_group_is_told_once_with_its_reason() -> None:
    cells = [make_cell("api", value, Status.ALLOWED, (-0.04, -0.06, -0.02)) for value in (1, 8)]
    group = make_group("api", Status.ALLOWED, (-0.04, -0.06, -0.02), values=(1, 8), reason="allowed up to 5 %: checks")
    made = document(cells, groups=[group])
    assert (made["verdict"], made["failed"]) == ("ALLOWED", False)
    text = render_summary(made)
    assert text.count("<details>") == 1
    assert "<code>api</code> ALLOWED: allowed up to 5 %: checks" in text
    assert text.count("**ALLOWED**") == 3


def test_what_others_used_of_the_machine_stands_beside_the_verdict() -> None:
    load = MachineLoad(cores=2, before_cores=None, during_cores=0.3, most_cores=0.5)
    made = document(load=load)
    assert made["load"] == {"cores": 2, "before_cores": None, "during_cores": 0.3, "most_cores": 0.5}
    _, _, second, *_ = render_summary(made).splitlines()
    assert second.endswith(", in 7.5 minutes. Other programs used 0.30 of 2 cores.")
    assert "Other programs used 0.30 of 2 cores." in render_run(made)


def test_a_baseline_is_named_by_its_commit_and_subject() -> None:
    """A subject's own backticks can't end what makes it text."""
    _, _, second, *_ = render_summary(document()).splitlines()
    assert second == (
        "REGRESSED: 1 of 5 cells, 1 not measured. Commit fedcba987654 with uncommitted changes, compared with the "
        "baseline of commit 0123456789ab (`The 'accepted' <state>`), on a-cpu-2-cores-no-gpu, in 7.5 minutes."
    )
    unnamed = {"kind": "commit", "reference": "0123456", "commit": "0123456789abcdef", "subject": None}
    assert "compared side by side with 0123456789ab, on" in render_summary(document(compared_with=unnamed))


@pytest.mark.parametrize("given", [["--perf-versus", "HEAD"], ["--perf-versus=HEAD"]])
def test_the_command_that_repeats_it_names_the_commit(given: list[str]) -> None:
    """HEAD is another commit as soon as the change is committed."""
    reference = {"kind": "commit", "reference": "HEAD", "commit": "0123456789abcdef", "subject": None}
    arguments = ["perf_tests", *given, "-k", "api or model"]
    expected = " ".join(given).replace("HEAD", "0123456789ab")
    last = render_summary(document(arguments=arguments, compared_with=reference)).splitlines()[-1]
    assert last == f"Repeat it: `pytest perf_tests {expected} -k 'api or model'`"


def test_what_others_wrote_is_no_tag_in_the_heading() -> None:
    first = render_summary(document(RESULTS[5:])).splitlines()[0]
    assert first == "## `latency[percent=70]` can't be judged: 1 answer was &lt;wrong>."
    assert "a &lt;note>" in render_summary(document(RESULTS[:1], notes=["a <note>"])).splitlines()


def test_a_row_for_each_cell_and_what_fails_is_bold() -> None:
    lines = render_summary(document()).splitlines()
    (row,) = (line for line in lines if line.startswith("| `api[concurrency=1]`"))
    assert re.fullmatch(
        r"\| `api\[concurrency=1\]` \| -18.0% \[-\d+.\d%, -\d+.\d%\] \| \*\*REGRESSED\*\* \| 80.0 \| 100.0 "
        r"\| 20.2 \|",
        row,
    )
    assert len([line for line in lines if line.startswith("| `")]) == len(RESULTS)


def test_only_what_needs_a_reader_has_its_reason() -> None:
    text = render_summary(document())
    assert text.count("<details>") == 2
    assert "1 answer was &lt;wrong>" in text
    assert "secret" not in text  # a log's tail stays on the machine


def test_groups_stand_above_their_cells_and_a_finding_is_told_once() -> None:
    text = render_summary(slower_predict())
    assert "| **`model`** | -10.8% [-11.4%, -10.1%] | **REGRESSED** | | | |" in text.splitlines()
    assert text.count("<details>") == 2


def test_what_was_judged_beside_throughput_has_a_row_and_a_reason_where_it_fails() -> None:
    figures = [make_figure(), make_figure(GROWTH, Status.REGRESSED, (20_000.0, 18_000.0, 22_000.0), reason="it keeps")]
    text = render_summary(document(RESULTS[:2], figures=figures))
    assert "| `api start` | +1 % [-2 %, +4 %] | PASS | | | |" in text.splitlines()
    assert "| `api growth` | +20 KB [+18 KB, +22 KB] | **REGRESSED** | | | |" in text.splitlines()
    assert text.count("<details>") == 1
    assert "<code>api growth</code> REGRESSED: it keeps" in text


def test_without_a_commit_it_is_the_working_tree() -> None:
    assert "The working tree, compared" in render_summary(document(commit=None))

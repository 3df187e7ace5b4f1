"""What a pull request shows."""

import re

from servegate.report.summary import render_summary
from unit_tests.builders.run_documents import RESULTS, document


def test_the_verdict_comes_first() -> None:
    first, _, second, *_ = render_summary(document()).splitlines()
    assert first == "## REGRESSED: 1 of 5 cells, 1 not measured"
    assert second == (
        "Commit fedcba987654 with uncommitted changes, compared with the baseline of commit 0123456789ab, "
        "on a-cpu-2-cores-no-gpu, in 7.5 minutes."
    )


def test_a_row_for_each_cell_and_what_fails_is_bold() -> None:
    lines = render_summary(document()).splitlines()
    (row,) = (line for line in lines if line.startswith("| `api[concurrency=1]`"))
    assert re.fullmatch(
        r"\| `api\[concurrency=1\]` \| 80.0 \| 100.0 \| -18.0% \[-\d+.\d%, -\d+.\d%\] \| 20.2 "
        r"\| \*\*REGRESSED\*\* \|",
        row,
    )
    assert len([line for line in lines if line.startswith("| `")]) == len(RESULTS)


def test_only_what_needs_a_reader_has_its_reason() -> None:
    text = render_summary(document())
    assert text.count("<details>") == 2
    assert "1 answer was &lt;wrong>" in text
    assert "secret" not in text  # a log's tail stays on the machine


def test_without_a_commit_it_is_the_working_tree() -> None:
    assert "The working tree, compared" in render_summary(document(commit=None))

"""A slowdown that is allowed is shown as ALLOWED with its reason, and fails no test; the baseline stays."""

from dataclasses import replace
from pathlib import Path

import pytest

from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import GROWTH, MEMORY
from servegate.options.allowance import Allowance
from servegate.records import Status
from servegate.session.allowances import allow_cells, allow_figures, allow_groups, find_allowances
from unit_tests.builders.gate_settings import SETTINGS, judging
from unit_tests.builders.runs.findings import make_cell, make_figure, make_group
from unit_tests.builders.tiny_project import CELLS, TinyProject, git, table_of

MODEL_8, API_1, API_8 = CELLS
REGRESSED, ALLOWED, PASS = Status.REGRESSED, Status.ALLOWED, Status.PASS
API_5 = {"api": Allowance("api", 5.0, "%", "stronger checks")}
SLOWER_BY_4 = make_group("api", REGRESSED, (-0.04, -0.06, -0.02), values=(1, 8), reason="4 % slower")


def allowed_cells(allowances: dict[str, Allowance], *cells: CellResult) -> list[Status]:
    groups = allow_groups(allowances, [SLOWER_BY_4])
    return [result.verdict.status for result in allow_cells(allowances, groups, cells)]


def test_a_group_is_allowed_up_to_the_limit_and_keeps_its_figures() -> None:
    (group,) = allow_groups(API_5, [SLOWER_BY_4])
    assert (group.verdict.status, group.verdict.reason) == (ALLOWED, "allowed up to 5 %: `stronger checks`")
    assert group.verdict.change == SLOWER_BY_4.verdict.change
    assert group.verdict.evidence == ("4 % slower", "line of evidence")


def test_beyond_the_limit_it_stays_regressed_and_says_what_was_allowed() -> None:
    (group,) = allow_groups({"api": Allowance("api", 3.0, "%", "checks")}, [SLOWER_BY_4])
    assert group.verdict.status is REGRESSED
    assert group.verdict.reason == "4 % slower; more than what is allowed, up to 3 %: `checks`"


def test_other_groups_and_other_verdicts_stay_as_they_are() -> None:
    others = [make_group("model", REGRESSED, (-0.04, -0.06, -0.02)), make_group("api")]
    assert allow_groups(API_5, others) == others
    assert allowed_cells(API_5, make_cell("api", 1, Status.INVALID)) == [Status.INVALID]


def test_cells_go_with_their_group_unless_they_lost_more_than_it_may() -> None:
    cells = [
        make_cell("api", 1, REGRESSED, (-0.06, -0.09, -0.03)),  # more by its estimate, but not for sure
        make_cell("api", 8, REGRESSED, (-0.12, -0.15, -0.09)),
        make_cell("model", 1, REGRESSED, (-0.04, -0.05, -0.03)),
    ]
    assert allowed_cells(API_5, *cells) == [ALLOWED, REGRESSED, REGRESSED]


def test_no_cell_of_a_group_beyond_its_limit_is_allowed() -> None:
    cell = make_cell("api", 1, REGRESSED, (-0.01, -0.02, 0.0))
    assert allowed_cells({"api": Allowance("api", 3.0, "%", "checks")}, cell) == [REGRESSED]


def test_a_cell_may_have_an_allowance_of_its_own() -> None:
    cells = [make_cell("api", value, REGRESSED, (-0.12, -0.15, -0.09)) for value in (1, 8)]
    own = {"api[8]": Allowance("api[8]", 13.0, "%", "fewer threads")}
    assert allowed_cells({**API_5, **own}, *cells) == [REGRESSED, ALLOWED]


def test_a_figure_is_allowed_in_its_own_unit() -> None:
    figures = [
        make_figure(MEMORY, REGRESSED, (0.08, 0.07, 0.09), reason="8 % more"),
        make_figure(MEMORY, REGRESSED, (0.08, 0.07, 0.09), group="model"),
        make_figure(GROWTH, REGRESSED, (25e3, 20e3, 30e3)),
    ]
    memory = Allowance("api.memory", 10.0, "%", "a larger model")
    growth = Allowance("api.growth", 20.0, "KB", "a cache")
    first, *others = allow_figures({"api.memory": memory, "api.growth": growth}, figures)
    assert (first.verdict.status, first.verdict.reason) == (ALLOWED, "allowed up to 10 %: `a larger model`")
    assert (first.change, first.verdict.evidence[0]) == (figures[0].change, "8 % more")
    assert [result.verdict.status for result in others] == [REGRESSED, REGRESSED]
    assert others[1].verdict.reason.endswith("more than what is allowed, up to 20 KB: `a cache`")


class TestMessages:
    """Tests of allowances in the messages of commits since the base."""

    def settings_of(self, project: Path) -> dict[str, Allowance]:
        allowances, self.notes = find_allowances(replace(SETTINGS, root=project), git(project, "rev-parse", "HEAD~1"))
        return allowances

    def commit(self, project: Path, *paragraphs: str) -> None:
        messages = [word for paragraph in paragraphs for word in ("--message", paragraph)]
        git(project, "commit", "--quiet", "--allow-empty", *messages)

    def test_the_message_of_a_commit_that_the_base_has_not_counts(self, project: Path) -> None:
        self.commit(project, "Check more", "Perf-allow: api: up to 5 %: stronger checks")
        assert self.settings_of(project) == API_5
        assert self.notes == ["`api` may become worse by a commit's message: up to 5 %: `stronger checks`"]
        self.commit(project, "A later one")
        assert self.settings_of(project) == {}

    def test_a_line_that_says_nothing_right_fails_nothing_and_is_told(self, project: Path) -> None:
        self.commit(project, "Check more", "Perf-allow: a`ll\nPerf-allow: apj: up to 5 %: checks")
        assert self.settings_of(project) == {}
        assert self.notes[0].startswith(
            "a commit's message has `Perf-allow: a'll`, which allows nothing: it must look like"
        )
        assert self.notes[1].startswith("a commit's message allows nothing: `apj` is no group, cell or figure of")

    def test_the_command_line_goes_first(self, project: Path) -> None:
        self.commit(project, "Check more", "Perf-allow: api: up to 50 %: anything")
        settings = judging(replace(SETTINGS, root=project), allowances=tuple(API_5.values()))
        assert find_allowances(settings, git(project, "rev-parse", "HEAD~1"))[0] == API_5

    def test_without_a_base_no_message_counts(self, project: Path) -> None:
        self.commit(project, "Check more", "Perf-allow: api: up to 5 %: stronger checks")
        assert find_allowances(replace(SETTINGS, root=project), None) == ({}, [])
        assert find_allowances(replace(SETTINGS, root=project), "0" * 40) == ({}, [])


@pytest.mark.parametrize("where", ["command line", "message"])
def test_a_run_shows_what_it_allows_and_passes(tiny_project: TinyProject, where: str) -> None:
    """By the stored baseline alone; it is not replaced."""
    tiny_project.accept()
    tiny_project.commit()
    stored = tiny_project.baseline_file.read_bytes()
    text = "api: up to 40 %: stronger checks"
    if where == "message":
        git(tiny_project.root, "commit", "--quiet", "--allow-empty", "--message", f"Check\n\nPerf-allow: {text}")
    options = ["--perf-allow", text] if where == "command line" else []
    tiny_project.plan({API_8: 70.0})
    result = tiny_project.run("perf_tests", "--benchmark-compare", "--perf-strict", *options)
    assert result.ret == pytest.ExitCode.OK
    assert table_of(result) == {MODEL_8: "PASS", API_1: "ALLOWED", API_8: "ALLOWED"}
    shown = " ".join(result.stdout.str().split())
    assert f"{where}: up to 40 %: `stronger checks`" in shown
    assert "api[concurrency=8] ALLOWED: allowed up to 40 %: `stronger checks`" in shown
    assert "of their throughput, allowed up to 40 %: `stronger checks`" in shown
    assert tiny_project.baseline_file.read_bytes() == stored

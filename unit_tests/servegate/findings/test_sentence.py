"""The run's first sentence: the cause, what changed, what is excluded, and what to do where it can't tell."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from servegate.errors import ServegateError
from servegate.findings.sentence import describe_findings
from servegate.judging.cell_result import CellResult
from servegate.judging.figures.kinds import COST, GROWTH, MEMORY, START, TAIL
from servegate.judging.figures.result import FigureResult
from servegate.judging.group_result import GroupResult
from servegate.records import MachineLoad, Status
from unit_tests.builders.runs.findings import make_cell, make_figure, make_group, make_pairs
from unit_tests.builders.runs.samples import make_sample

LENIENT = {Status.REGRESSED, Status.INVALID}
STRICT = {*LENIENT, Status.INCONCLUSIVE, Status.NO_BASELINE}
REGRESSED, IMPROVED, PASS = Status.REGRESSED, Status.IMPROVED, Status.PASS
INCONCLUSIVE, INVALID, NO_BASELINE = Status.INCONCLUSIVE, Status.INVALID, Status.NO_BASELINE
SLOWER_PREDICT = make_pairs([{"predict": 1.093}, {"predict": 1.094}, {"predict": 1.095}])
FASTER_PREDICT = make_pairs([{"predict": 0.913}, {"predict": 0.914}, {"predict": 0.915}])


def describe(
    groups: Sequence[GroupResult],
    cells: Sequence[CellResult],
    arms: Mapping[str, Mapping[str, str]] | None = None,
    failing: Collection[Status] = LENIENT,
    figures: Sequence[FigureResult] = (),
    load: MachineLoad | None = None,
    errors: Mapping[str, BaseException] | None = None,
    *,
    is_out_of_time: bool = False,
) -> str:
    return describe_findings(
        groups,
        cells,
        figures,
        arms=arms or {},
        failing=failing,
        load=load,
        errors=errors,
        is_out_of_time=is_out_of_time,
    )


def test_one_cause_is_one_finding_however_many_cells_show_it() -> None:
    groups = [
        make_group("api", REGRESSED, (-0.045, -0.054, -0.037), values=(1, 8)),
        make_group("model", REGRESSED, (-0.108, -0.114, -0.101), values=(1, 8)),
    ]
    cells = [
        make_cell(name, value, REGRESSED, (-0.2, -0.3, -0.1), pairs=SLOWER_PREDICT if name == "api" else ())
        for name in ("api", "model")
        for value in (1, 8)
    ]
    assert describe(groups, cells) == (
        "`predict` takes 9.4 % more CPU time [9.2, 9.6]; "
        "`api` loses 3.7 to 5.4 % of its throughput, `model` 10.1 to 11.4 %."
    )


def test_a_cause_that_only_passing_cells_tell_of_is_named() -> None:
    groups = [make_group("model", REGRESSED, (-0.1, -0.11, -0.09)), make_group("api")]
    cells = [make_cell("model", 1, REGRESSED), make_cell("api", pairs=SLOWER_PREDICT)]
    assert describe(groups, cells) == (
        "`predict` takes 9.4 % more CPU time [9.2, 9.6]; `model` loses 9.0 to 11.0 % of its throughput; "
        "in `api` a slowdown of 3 % is excluded."
    )


def test_a_stage_that_moved_the_other_way_explains_nothing() -> None:
    groups = [make_group("api", REGRESSED, (-0.1, -0.11, -0.09))]
    assert describe(groups, [make_cell("api", 1, REGRESSED, pairs=FASTER_PREDICT)]) == (
        "`api` loses 9.0 to 11.0 % of its throughput."
    )


def test_a_gain_has_its_cause() -> None:
    groups = [make_group("api", IMPROVED, (0.1, 0.09, 0.11)), make_group("model")]
    cells = [make_cell("api", 1, IMPROVED, pairs=FASTER_PREDICT), make_cell("model")]
    assert describe(groups, cells) == (
        "`predict` takes 8.6 % less CPU time [8.4, 8.8]; `api` gains 9.0 to 11.0 % of its throughput; "
        "in `model` a slowdown of 3 % is excluded, in each cell one of 10 %."
    )


def test_cells_of_a_group_that_passes_stand_by_themselves() -> None:
    groups = [make_group("api", values=(1, 8))]
    cells = [make_cell("api", 1), make_cell("api", 8, REGRESSED, (-0.1, -0.12, -0.08))]
    assert describe(groups, cells) == (
        "`api[load=8]` loses 8.0 to 12.0 % of its throughput; in `api` a slowdown of 3 % is excluded."
    )


def test_several_cells_of_a_group_share_what_covers_their_intervals() -> None:
    changes = {1: (-0.1, -0.12, -0.08), 8: (-0.2, -0.21, -0.19)}
    cells = [make_cell("api", value, REGRESSED, change) for value, change in changes.items()]
    assert describe([], [*cells, make_cell("api", 64)]) == (
        "2 of 3 cells of `api` lose 8.0 to 21.0 % of their throughput."
    )


@pytest.mark.parametrize(
    ("groups", "cells", "sentence"),
    [
        (
            [make_group("model"), make_group("api")],
            [make_cell("model"), make_cell("api")],
            "No change found: in `model` and `api` a slowdown of 3 % is excluded, in each cell one of 10 %.",
        ),
        (
            [make_group("model"), make_group("api", excludes=0.075)],
            [make_cell("model", excludes=0.1), make_cell("api", excludes=0.2)],
            "No change found: in `model` a slowdown of 3 % is excluded, in `api` one of 7.5 %, "
            "in each cell one of 20 %.",
        ),
        (
            [make_group("api", values=(8,))],
            [make_cell("api", 1), make_cell("api", 8), make_cell("api", 64, Status.INFORMS)],
            "No change found: in `api` (1 of 3 cells) a slowdown of 3 % is excluded, in each cell one of 10 %.",
        ),
        ([], [make_cell()], "No change found: in each cell a slowdown of 10 % is excluded."),
        ([], [make_cell(excludes=None)], "No change found."),
    ],
)
def test_identical_code_says_what_is_excluded(
    groups: Sequence[GroupResult], cells: Sequence[CellResult], sentence: str
) -> None:
    assert describe(groups, cells) == sentence


NOISY = make_group("api", INCONCLUSIVE, (-0.01, -0.08, 0.07), excluded=0.07, pair_spread=0.09)
ADVICE = "Repeat the run while the machine is less busy, or plan more pairs: `--perf-pairs '4 5 7 10 15 22 34'`."


@pytest.mark.parametrize(("failing", "outcome"), [(LENIENT, "The run passed, but it"), (STRICT, "The run failed: it")])
def test_an_inconclusive_run_says_whether_it_passed_why_it_cannot_tell_and_what_to_do(
    failing: Collection[Status], outcome: str
) -> None:
    cells = [make_cell("api", 1, INCONCLUSIVE), make_cell("model")]
    assert describe([NOISY, make_group("model")], cells, failing=failing) == (
        f"{outcome} can't tell whether `api` changed: fresh processes differ by 9 %, which excludes a slowdown of 7 %, "
        f"not of 3 %; in `model` a slowdown of 3 % is excluded. {ADVICE}"
    )


QUIET, BUSY = MachineLoad(2, 0.01, 0.02, 0.05), MachineLoad(2, None, 0.86, 1.3)


def test_an_inconclusive_run_on_a_busy_machine_names_that() -> None:
    cells = [make_cell("api", 1, INCONCLUSIVE)]
    assert describe([NOISY], cells, load=QUIET).endswith(ADVICE)
    assert describe([NOISY], cells, load=BUSY).endswith(
        "not of 3 %. The machine was busy: other programs used 0.9 of its 2 cores. Repeat the run without them."
    )
    assert "busy" not in describe([make_group()], [make_cell()], load=BUSY)


def test_an_inconclusive_run_names_a_process_whose_threads_take_nearly_all_cores() -> None:
    def use(cores: float, client_cores: tuple[float, ...] = (0.1,)) -> CellResult:
        sample = make_sample()
        assert sample.telemetry is not None
        used = replace(sample.telemetry, cpu_cores_by_process={"server.py 1": 0.1, "server.py 2": cores})
        return replace(
            make_cell("api", 1, INCONCLUSIVE), samples=[replace(sample, telemetry=used, client_cores=client_cores)]
        )

    assert describe([NOISY], [use(1.4)], load=QUIET).endswith(ADVICE)
    sentence = describe([NOISY], [use(1.9)], load=QUIET)
    assert (
        "`server.py 2` alone uses 1.9 of the 2 cores. Where those are threads of numpy's BLAS, limit them" in sentence
    )
    assert describe([NOISY], [use(1.9, client_cores=())], load=QUIET).endswith(ADVICE)  # a model alone
    other = replace(use(1.9), cell=make_cell("photo").cell, verdict=make_cell("photo").verdict)
    assert describe([NOISY], [use(1.4), other], load=QUIET).endswith(ADVICE)  # of a cell that is clear
    assert "The machine was busy" in describe([NOISY], [use(1.9)], load=BUSY)
    # On a machine with one core, a process that keeps it busy is no reason for advice.
    assert describe([NOISY], [use(1.0)], load=MachineLoad(1, 0.0, 0.0, 0.0)).endswith(ADVICE)


def test_groups_that_are_unclear_for_one_reason_share_it_and_others_have_their_own() -> None:
    cells = [make_cell(name, 1, INCONCLUSIVE) for name in ("api", "model")]
    model = make_group("model", INCONCLUSIVE, excluded=0.07, pair_spread=0.09)
    why = "fresh processes differ by {}, which excludes a slowdown of 7 %, not of 3 %"
    assert f"whether `api` and `model` changed: {why.format('9 %')}. Repeat" in describe([NOISY, model], cells)
    model = replace(model, pair_spread=0.08)
    assert f"changed: `api`: {why.format('9 %')}; `model`: {why.format('8 %')}. Repeat" in describe(
        [NOISY, model], cells
    )


def test_an_allowed_loss_is_told_with_its_cause_and_its_reason() -> None:
    reason = "allowed up to 5 %: stronger checks"
    groups = [
        make_group("api", Status.ALLOWED, (-0.045, -0.054, -0.037), values=(1,), reason=reason),
        make_group("model"),
    ]
    cells = [make_cell("api", 1, Status.ALLOWED, (-0.045, -0.06, -0.03), pairs=SLOWER_PREDICT), make_cell("model")]
    assert describe(groups, cells, failing=STRICT) == (
        "`predict` takes 9.4 % more CPU time [9.2, 9.6]; `api` loses 3.7 to 5.4 % of its throughput, "
        "allowed up to 5 %: stronger checks; in `model` a slowdown of 3 % is excluded."
    )


def test_an_allowed_figure_is_told_with_its_reason() -> None:
    memory = make_figure(MEMORY, Status.ALLOWED, (0.08, 0.07, 0.09), reason="allowed up to 10 %: `a larger model`")
    sentence = describe([make_group()], [make_cell()], figures=[memory])
    assert sentence.startswith("`api` needs 8 % more memory [7.0, 9.0], allowed up to 10 %: `a larger model`; ")
    assert "no change found" not in sentence


def test_a_loss_leads_what_is_unclear() -> None:
    cells = [make_cell("api", 1, INCONCLUSIVE), make_cell("model", 1, REGRESSED, (-0.1, -0.11, -0.09))]
    sentence = describe([NOISY], cells)
    assert sentence.startswith("`model[load=1]` loses 9.0 to 11.0 % of its throughput; the run can't tell whether")
    assert sentence.endswith(ADVICE)


def test_an_inconclusive_cell_says_how_much_slower_it_may_be_or_its_reason() -> None:
    def why(cell: CellResult) -> str:
        return describe([make_group()], [cell]).partition("changed: ")[2].partition("; in `api`")[0]

    assert why(make_cell("api", 1, INCONCLUSIVE, (-0.01, -0.12, 0.1))) == "a slowdown of 12 % is possible"
    assert why(make_cell("api", 1, INCONCLUSIVE, reason="the time budget ended")) == "the time budget ended"
    enough = make_group("api", INCONCLUSIVE, excluded=0.02, reason="the interval is too wide")
    assert "changed: the interval is too wide. " in describe([enough], [make_cell("api", 1, INCONCLUSIVE)])


def test_a_reason_stands_once_for_all_that_have_it_without_the_log_below() -> None:
    cells = [make_cell(name, 1, INVALID, reason="1 answer was wrong\n--- its log ---") for name in ("api", "model")]
    assert describe([], cells) == "`api[load=1]` and `model[load=1]` can't be judged: 1 answer was wrong."


def test_without_a_base_it_says_why() -> None:
    cells = [make_cell("api", value, NO_BASELINE, reason="the base does not start") for value in (1, 8)]
    assert describe([], cells) == "There is nothing to compare 2 cells of `api` with: the base does not start."


def test_a_base_that_failed_is_named_with_its_reason() -> None:
    """All of its cells, or some beside others that were compared."""
    failed = [make_cell("api", value, Status.BASE_FAILED, reason="it does not boot\nlog") for value in (1, 8)]
    assert describe([], failed) == "2 cells of `api` could not be compared: it does not boot."
    said = describe([make_group("model")], [*failed, make_cell("model")])
    assert said.startswith("2 cells of `api` could not be compared: it does not boot; in `model` a slowdown of 3 %")


def test_cells_that_a_group_takes_along_have_the_signs_of_their_intervals() -> None:
    """By the stored baseline alone no group stands for them."""
    cells = [
        make_cell("api", 1, REGRESSED, (-0.02, -0.06, 0.015)),
        make_cell("api", 8, REGRESSED, (-0.05, -0.06, -0.04)),
    ]
    assert describe([], cells) == "2 cells of `api` lose -6.0 to +1.5 % of their throughput."


def test_a_run_that_judges_nothing_says_so() -> None:
    informs = make_cell("latency", 1, Status.INFORMS)
    not_judged = make_cell("api", 1, Status.NOT_JUDGED, reason="run with --benchmark-compare to judge")
    assert describe([], [informs, not_judged]) == "Nothing was judged: run with --benchmark-compare to judge."
    assert describe([], [informs]) == "Nothing was judged: these cells only inform."


def test_an_intended_difference_of_the_arms_leads() -> None:
    arms = {
        "base": {"api engine": "a", "model engine": "a", "model threads": "2", "python": "3.11", "old precision": "x"},
        "head": {"api engine": "b", "model engine": "b", "model threads": "4", "python": "3.12"},
    }
    assert describe([make_group()], [make_cell()], arms).startswith(
        "`api` and `model` run with engine b instead of a; `model` runs with threads 4 instead of 2; no change found"
    )
    alike = {"base": arms["base"], "head": arms["base"]}
    assert describe([make_group()], [make_cell()], alike).startswith("No change found")


def test_figures_that_grew_are_findings_of_their_own() -> None:
    groups, cells = [make_group("api")], [make_cell("api")]
    figures = [
        make_figure(TAIL, REGRESSED, (0.42, 0.30, 0.55)),
        make_figure(GROWTH, REGRESSED, (20_000.0, 18_000.0, 22_000.0)),
        make_figure(START, REGRESSED, (0.35, 0.31, 0.39)),
    ]
    assert describe(groups, cells, figures=figures) == (
        "`api` answers its slowest requests 42 % later [30.0, 55.0]; `api` keeps 20 KB more of each unit [18, 22]; "
        "`api` takes 35 % longer to start [31.0, 39.0]; "
        "in `api` a slowdown of 3 % is excluded, in each cell one of 10 %."
    )


@pytest.mark.parametrize("is_slower", [False, True])
def test_what_a_slower_group_costs_is_no_finding_of_its_own(is_slower: bool) -> None:
    status = REGRESSED if is_slower else PASS
    groups = [make_group("api", status, (-0.1, -0.11, -0.09))]
    cells = [make_cell("api", 1, status, (-0.1, -0.2, 0.0))]
    said = describe(groups, cells, figures=[make_figure(COST, REGRESSED, (0.11, 0.10, 0.12))])
    assert ("more CPU time a unit" in said) is not is_slower


def test_a_figure_that_shrank_is_told() -> None:
    figures = [make_figure(START, IMPROVED, (-0.25, -0.3, -0.2))]
    said = describe([make_group("api")], [make_cell("api")], figures=figures)
    assert said.startswith("`api` takes 25 % less time to start [20.0, 30.0]; ")


def test_a_figure_that_may_have_grown_says_why_it_is_not_known_and_what_helps() -> None:
    figures = [make_figure(TAIL, INCONCLUSIVE, (0.3, -0.2, 0.9), reason="12 pairs can't tell it from chance")]
    said = describe([make_group("api")], [make_cell("api")], figures=figures, failing=STRICT)
    assert said.startswith("`api tail` may have grown: 12 pairs can't tell it from chance; in `api` a slowdown")
    # Neither more pairs nor fewer threads help: figures have looks of their own.
    assert said.endswith(" is excluded, in each cell one of 10 %. Repeat the run while the machine is less busy.")


def test_where_every_figure_passes_no_change_was_found() -> None:
    figures = [make_figure(START, PASS, (0.01, -0.02, 0.04))]
    assert describe([make_group("api")], [make_cell("api")], figures=figures).startswith("No change found: ")


def test_what_a_faster_group_costs_more_is_told() -> None:
    """Its throughput, which grew, doesn't tell that."""
    groups = [make_group("api", IMPROVED, (0.1, 0.09, 0.11))]
    cells = [make_cell("api", 1, IMPROVED, (0.1, 0.0, 0.2))]
    said = describe(groups, cells, figures=[make_figure(COST, REGRESSED, (0.5, 0.48, 0.52))])
    assert said.startswith("`api` uses 50 % more CPU time a unit [48.0, 52.0]; `api` gains 9.0 to 11.0 %")


def test_a_group_that_could_not_be_measured_leads_and_nothing_is_said_of_each_cell() -> None:
    died = ServegateError("the server died\nits log")
    assert describe([make_group("model")], [make_cell("model")], errors={"api": died, "photo": died}) == (
        "`api` and `photo` could not be measured: the server died; in `model` a slowdown of 3 % is excluded."
    )


def test_an_interval_of_a_figure_that_contains_zero_has_its_sign() -> None:
    longer = make_figure(START, REGRESSED, (0.5, -0.144, 1.63))
    assert describe([], [make_cell()], figures=[longer]).startswith("`api` takes 50 % longer to start [-14.4, 163]")
    shorter = make_figure(START, IMPROVED, (-0.5, -0.7, 0.1))
    assert "`api` takes 50 % less time to start [-10.0, 70.0]" in describe([], [make_cell()], figures=[shorter])


def test_a_run_that_time_ended_needs_time_and_no_pairs() -> None:
    groups = [make_group("api", INCONCLUSIVE, excluded=0.05)]
    said = describe(groups, [make_cell("api", 1, INCONCLUSIVE)], is_out_of_time=True)
    assert "The time budget ended the comparison: give it more, `--perf-budget-minutes`." in said
    assert "--perf-pairs" not in said

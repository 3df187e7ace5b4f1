"""The judge of figures: when it accuses, what keeps a run going, and what it says."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from servegate.judging.figures.judge import FigureJudge
from servegate.judging.figures.kinds import COST, FIGURE_KINDS, GROWTH, MEMORY, START, TAIL, FigureKind, GroupFigure
from servegate.judging.figures.policy import DEFAULT_MARGINS, FigurePolicy
from servegate.records import Cell, ProcessRecord, Status
from unit_tests.builders.runs.samples import make_sample

CELLS = [Cell("api", "concurrency", 1), Cell("api", "concurrency", 8)]


def make_judge(policy: FigurePolicy | None = None, kinds: Sequence[FigureKind] = (START,)) -> FigureJudge:
    return FigureJudge(policy or FigurePolicy(), {"api": (kinds, CELLS)})


def add_starts(judge: FigureJudge, base_s: Iterable[float], head_s: Iterable[float]) -> None:
    for base, head in zip(base_s, head_s, strict=True):
        judge.add("api", (ProcessRecord(base, 1e9), ProcessRecord(head, 1e9)), {})


def spread(centre: float, pairs: int) -> list[float]:
    """Values within half a percent, in no order."""
    return [centre * (1 + 0.005 * math.cos(7 * number)) for number in range(pairs)]


def test_a_start_that_takes_longer_is_regressed_at_the_first_look() -> None:
    judge = make_judge()
    for pairs in range(1, 8):
        add_starts(judge, spread(6.0, pairs)[-1:], spread(8.0, pairs)[-1:])
        assert judge.is_any_open == (pairs >= 4)
    add_starts(judge, [6.0], [8.0])
    (result,) = judge.results()
    assert (result.verdict.status, str(result.figure)) == (Status.REGRESSED, "api start")
    assert result.change is not None
    assert result.change.estimate == pytest.approx(1 / 3, rel=0.02)
    assert result.change.low <= result.change.estimate <= result.change.high
    assert not judge.is_any_open
    assert "+33.3 %: 10 % or more, and more than fresh processes differ" in result.verdict.reason


def test_one_process_out_of_order_keeps_it_from_being_accused_at_the_first_look() -> None:
    """At 1 % for the run, a tenth of it for starts, one group of ten and two looks: nothing but full separation."""
    policy = FigurePolicy()
    assert 7.8e-5 < policy.level(START, groups=5) < 1.6e-4
    apart, overlapping = (
        FigureJudge(policy, dict.fromkeys(("api", "b", "c", "d", "e"), ((START,), CELLS))) for _ in range(2)
    )
    add_starts(apart, [*spread(6.0, 8)], [*spread(8.0, 8)])
    add_starts(overlapping, [*spread(6.0, 6), 9.0, 9.1], [*spread(8.0, 8)])
    assert apart.results()[0].verdict.status is Status.REGRESSED
    assert overlapping.results()[0].verdict.status is Status.INCONCLUSIVE
    assert overlapping.is_any_open


def test_within_its_margin_a_figure_never_keeps_a_run_going() -> None:
    judge = make_judge()
    add_starts(judge, spread(6.0, 4), spread(6.3, 4))
    assert (judge.open_kinds("api"), judge.is_any_open) == ([], False)
    (result,) = judge.results()
    assert result.verdict.status is Status.PASS
    assert result.excluded is not None
    assert result.verdict.reason.endswith(f"{START.write(result.excluded)} is excluded at 95%")


def test_a_certain_change_within_the_margin_passes() -> None:
    judge = make_judge()
    add_starts(judge, spread(6.0, 8), spread(6.3, 8))
    assert judge.results()[0].verdict.status is Status.PASS


def test_a_faster_start_is_improved_but_no_run_goes_on_for_it() -> None:
    judge = make_judge()
    add_starts(judge, spread(8.0, 4), spread(6.0, 4))
    assert not judge.is_any_open
    add_starts(judge, spread(8.0, 4), spread(6.0, 4))
    assert judge.results()[0].verdict.status is Status.IMPROVED


def test_after_its_last_look_a_figure_beyond_its_margin_is_inconclusive() -> None:
    judge = make_judge()
    noisy = [6.0, 12.0] * 6
    add_starts(judge, noisy, [value * 1.3 for value in noisy])
    (result,) = judge.results()
    assert not judge.is_any_open
    assert result.verdict.status is Status.INCONCLUSIVE
    assert "12 pairs can't tell it from chance" in result.verdict.reason


def test_too_few_pairs_judge_nothing() -> None:
    judge = make_judge()
    add_starts(judge, [6.0] * 3, [12.0] * 3)
    assert judge.results()[0].verdict.status is Status.NOT_JUDGED
    assert not judge.is_any_open


def test_each_group_and_figure_is_judged_by_itself() -> None:
    judge = FigureJudge(FigurePolicy(), {"api": ((START, MEMORY), CELLS), "model": ((START,), CELLS)})
    for start_s, bytes_ in zip(spread(6.0, 8), spread(1e9, 8), strict=True):
        judge.add("api", (ProcessRecord(start_s, bytes_), ProcessRecord(start_s, 1.2 * bytes_)), {})
        judge.add("model", (ProcessRecord(start_s, None), ProcessRecord(1.5 * start_s, None)), {})
    statuses = {str(result.figure): result.verdict.status for result in judge.results()}
    assert statuses == {"api start": Status.PASS, "api memory": Status.REGRESSED, "model start": Status.REGRESSED}
    judge.drop("model")
    assert {result.figure.group for result in judge.results()} == {"api"}


def test_cost_is_judged_by_pairs_since_the_machine_is_faster_at_one_moment_than_at_another() -> None:
    """Its speed differs by 60 % from pair to pair, so ranks of all processes tell nothing of 10 %."""
    judge = make_judge(kinds=[COST])
    speeds = [1.0, 1.6, 1.2, 1.4, 1.1, 1.5, 1.3, 1.05]
    figure = GroupFigure("api", COST)
    for speed, noise in zip(speeds, spread(1.0, 8), strict=True):
        judge.add_value(figure, 6.0 * speed, 6.6 * speed * noise)
    (result,) = judge.results()
    assert result.verdict.status is Status.REGRESSED
    assert "p of differences this high without a change" in "\n".join(result.verdict.evidence)


def test_cost_whose_pairs_differ_by_more_than_the_change_is_not_accused() -> None:
    judge = make_judge(kinds=[COST])
    for change in [1.3, 0.9, 1.25, 0.95, 1.2, 1.0, 1.15, 1.05] * 2:
        judge.add_value(GroupFigure("api", COST), 6.0, 6.0 * change)
    assert judge.results()[0].verdict.status is Status.INCONCLUSIVE


def test_memory_kept_of_each_request_is_compared_by_its_difference() -> None:
    judge = make_judge(kinds=[GROWTH])
    for number in range(8):
        base, head = (replace(make_sample(), grew_bytes_per_unit=kept + number) for kept in (-300.0, 20_000.0))
        records = ProcessRecord(6.0, 1e9), ProcessRecord(6.0, 1e9)
        judge.add("api", records, dict.fromkeys(CELLS, (base, head)))
    (result,) = judge.results()
    assert result.verdict.status is Status.REGRESSED
    assert "+20.3 KB: 5 KB or more" in result.verdict.reason


class TestPolicy:
    """Tests of which figures are judged where, and how often they may err."""

    def test_margins_of_groups_go_before_those_of_all(self) -> None:
        policy = FigurePolicy({**DEFAULT_MARGINS, "api.start": 50.0, "model.start": None})
        assert [policy.margin_of(START, group) for group in ("api", "model", "photo")] == [0.5, None, 0.1]

    def test_what_is_off_is_not_judged(self) -> None:
        policy = FigurePolicy({**DEFAULT_MARGINS, "start": None, "api.memory": None})
        judge = make_judge(policy, (START, MEMORY))
        assert judge.results() == ()

    def test_a_cell_that_is_off_is_no_part_of_its_groups_figure(self) -> None:
        judge = make_judge(FigurePolicy({**DEFAULT_MARGINS, "api[1].tail": None}), [TAIL])
        sample = replace(make_sample(), windows_ms=((10.0, 20.0),))
        record = ProcessRecord(6.0, 1e9)
        for _ in range(4):
            judge.add("api", (record, record), {CELLS[1]: (sample, sample)})
        assert judge.results()[0].verdict.status is Status.PASS

    def test_all_figures_together_spend_what_throughput_leaves(self) -> None:
        """Throughput has half of the run's error level."""
        assert sum(kind.error_share for kind in FIGURE_KINDS) == pytest.approx(0.5)

    @pytest.mark.parametrize("groups", [1, 3])
    def test_the_looks_of_all_groups_spend_the_figures_share(self, groups: int) -> None:
        policy = FigurePolicy(error_level=0.01)
        assert policy.level(TAIL, groups) * groups * len(policy.looks) == pytest.approx(0.01 * TAIL.error_share)

    def test_only_groups_that_have_the_figure_share_its_error_and_one_that_drops_out_keeps_its_part(self) -> None:
        groups = {"api": ((TAIL, START), CELLS), "model": ((START,), CELLS)}
        judge = FigureJudge(FigurePolicy(error_level=0.01), groups)
        judge.drop("model")
        sample, record = replace(make_sample(100.0), windows_ms=((10.0,),)), ProcessRecord(6.0, None)
        for _ in range(4):
            judge.add("api", (record, record), dict.fromkeys(CELLS, (sample, sample)))
        tail, start = (result.verdict.evidence[1] for result in judge.results())
        assert tail.startswith("accused below p 0.00038,")  # 0.01 x 0.075 / 2 looks
        assert start.startswith("accused below p 0.00025,")  # and of two groups


def test_what_a_slower_group_costs_is_left_to_its_throughput() -> None:
    judge = make_judge(kinds=[COST, START])
    dear = make_sample(50.0)
    for _ in range(4):
        judge.add("api", (ProcessRecord(6.0, 1e9),) * 2, dict.fromkeys(CELLS, (make_sample(100.0), dear)))
    assert judge.open_kinds("api") == [COST]
    judge.leave_to_throughput("api", COST)
    assert not judge.is_any_open
    cost, start = judge.results()
    assert (cost.verdict.status, start.verdict.status) == (Status.NOT_JUDGED, Status.PASS)
    assert cost.change is not None
    assert cost.change.estimate == pytest.approx(1.0)

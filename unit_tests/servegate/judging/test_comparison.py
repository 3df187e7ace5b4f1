"""The judge of a comparison side by side: pairs go in, verdicts of groups and cells come out."""

import math
from dataclasses import replace

import pytest

from servegate.judging.comparison import ComparisonJudge
from servegate.judging.pairs import PairFigure
from servegate.judging.policy import Policy
from servegate.records import Cell, Status
from unit_tests.builders.runs.samples import make_sample

API_1, API_8, MODEL_8 = (Cell("api", "concurrency", 1), Cell("api", "concurrency", 8), Cell("model", "batch", 8))
CELLS = (API_1, API_8, MODEL_8)
POLICY = Policy(groups=2, cells=3, looks=(4, 6))


def figure(log_ratio: float = 0.0, spread: float = 0.002) -> PairFigure:
    """A pair of which the blocks stray so far to either side."""
    blocks = (log_ratio - spread, log_ratio + spread)
    return PairFigure(log_ratio, blocks, make_sample(100.0), make_sample(100.0 * math.exp(log_ratio)), seconds=1.0)


def judge_after(pairs: int, policy: Policy = POLICY, *, last: bool = False, **changes: float) -> ComparisonJudge:
    """After so many pairs, in which cells changed by so much, as in `api_1=-0.1`."""
    judge = ComparisonJudge(policy, CELLS)
    for _ in range(pairs):
        for cells in (CELLS[:2], CELLS[2:]):
            judge.add({cell: figure(changes.get(f"{cell.group}_{cell.value}", 0.0)) for cell in cells})
    judge.look(last=last)
    return judge


def statuses(judge: ComparisonJudge) -> dict[str, Status]:
    cells = {f"{cell.group}_{cell.value}": item.verdict.status for cell, item in judge.compared_cells().items()}
    return {**cells, **{group.name: group.verdict.status for group in judge.compared_groups()}}


def test_identical_code_passes_with_what_is_excluded() -> None:
    judge = judge_after(4)
    assert set(statuses(judge).values()) == {Status.PASS}
    api, model = judge.compared_groups()
    assert (api.name, api.cells, api.pairs) == ("api", (API_1, API_8), 4)
    assert (api.margin, api.excludes) == pytest.approx((0.02, 0.03))
    assert 0 < api.excluded < 0.03
    assert (
        api.verdict.reason
        == "throughput of its cells together +0.0% side by side; a slowdown of 3 % is excluded at 95%"
    )
    assert model.cells == (MODEL_8,)
    verdict = judge.compared_cells()[API_8].verdict
    assert verdict.reason == "throughput +0.0% [-0.3%, +0.3%] side by side; a slowdown of 10 % is excluded at 95%"
    assert [verdict.now_per_s, verdict.baseline_per_s] == pytest.approx([100.0, 100.0])
    assert not judge.is_any_open


def test_cells_of_a_group_that_regressed_have_no_verdict_of_their_own() -> None:
    """Their intervals are told; they are measured no further."""
    judge = judge_after(4, api_1=-0.02, api_8=-0.02)
    assert statuses(judge) == {
        "api_1": Status.REGRESSED,
        "api_8": Status.REGRESSED,
        "api": Status.REGRESSED,
        "model_8": Status.PASS,
        "model": Status.PASS,
    }
    api, _ = judge.compared_groups()
    assert api.verdict.reason.startswith("throughput of its cells together -2.0% side by side; 1 % or more, and more")
    verdict = judge.compared_cells()[API_1].verdict
    assert verdict.reason == "throughput -2.0% [-2.2%, -1.7%] side by side; api is REGRESSED as a whole"
    assert judge.open_cells("api") == []


def test_the_evidence_names_every_pair_and_the_error_spent_at_a_look() -> None:
    judge = judge_after(4, api_1=-0.02, api_8=-0.04)
    group = judge.compared_groups()[0].verdict.evidence
    assert group[0] == "pairs    -3.0% -3.0% -3.0% -3.0%"
    assert group[1].startswith("change   -3.0% [")
    assert "accused below 0.0013 (0.002 in all, 67% of it at the look after 4 pairs; looks at 4, 6)" in group[2]
    cell = judge.compared_cells()[API_8].verdict.evidence
    assert cell[:2] == ("pairs    -3.9% -3.9% -3.9% -3.9%", "robust   -3.9% -3.9% -3.9% -3.9%")


def test_a_cell_does_not_pass_while_its_group_is_open() -> None:
    """And what is open at the last look is inconclusive, with what was excluded all the same."""
    judge = ComparisonJudge(POLICY, CELLS[:2])
    for number in range(6):
        stray = 0.03 if number % 2 else -0.03
        judge.add({cell: figure(stray) for cell in CELLS[:2]})
        if number == 3:
            judge.look(last=False)
            assert judge.open_cells("api") == [API_1, API_8]
    judge.look(last=True)
    assert set(statuses(judge).values()) == {Status.INCONCLUSIVE}
    (api,) = judge.compared_groups()
    assert api.excluded > api.excludes
    assert api.pair_spread == pytest.approx(0.0329, abs=1e-4)
    assert api.verdict.reason.endswith(
        f"too noisy: {100 * api.excluded:.2g} % is the slowdown excluded, PASS needs 3 %"
    )


def test_a_cell_that_passes_has_improved_with_its_group() -> None:
    judge = judge_after(4, api_1=0.02, api_8=0.02)
    assert [statuses(judge)[name] for name in ("api", "api_1", "model")] == [
        Status.IMPROVED,
        Status.IMPROVED,
        Status.PASS,
    ]


def test_wrong_answers_of_the_head_are_invalid_at_once_and_leave_the_group_to_the_others() -> None:
    judge = ComparisonJudge(POLICY, CELLS[:2])
    wrong = replace(figure(math.nan), blocks=(), head=make_sample(failures=["no cat"]))
    judge.add({API_1: wrong, API_8: figure()})
    assert judge.open_cells("api") == [API_8]
    for _ in range(3):
        judge.add({API_8: figure()})
    judge.look(last=True)
    compared = judge.compared_cells()
    assert compared[API_1].verdict.status is Status.INVALID
    assert "wrong or failed: no cat" in compared[API_1].verdict.reason
    assert compared[API_8].verdict.status is Status.PASS
    assert judge.compared_groups()[0].cells == (API_8,)


def test_wrong_answers_of_the_base_are_the_bases_failure() -> None:
    judge = ComparisonJudge(POLICY, CELLS)
    judge.add({MODEL_8: replace(figure(math.nan), blocks=(), base=make_sample(failures=["no cat"]))})
    verdict = judge.compared_cells()[MODEL_8].verdict
    assert verdict.status is Status.BASE_FAILED
    assert verdict.reason.startswith("the base can't serve this cell: 1 of")
    assert verdict.now_per_s is not None


@pytest.mark.parametrize(("arm", "where"), [("head", ""), ("base", "in the base, ")])
def test_a_client_at_its_ceiling_in_either_arm_is_invalid(arm: str, where: str) -> None:
    judge = ComparisonJudge(POLICY, CELLS)
    sample = make_sample(100.0, client_cores=[0.3, 0.95])
    busy = replace(figure(), head=sample) if arm == "head" else replace(figure(), base=sample)
    judge.add({API_1: busy, API_8: figure()})
    assert judge.compared_cells()[API_1].verdict.reason.startswith(f"{where}a client process used 0.95 of its one core")


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (0, "the run's time budget had ended"),
        (1, "ended after 1 of the 4 pairs that a first look needs"),
        (3, "ended after 3 of the 4 pairs that a first look needs"),
    ],
)
def test_before_the_first_look_nothing_is_judged(pairs: int, why: str) -> None:
    """However much slower: so few pairs say too little about how far fresh processes differ."""
    judge = judge_after(pairs, last=True, api_1=-0.5)
    assert set(statuses(judge).values()) == {Status.INCONCLUSIVE}
    assert judge.compared_groups() == ()
    assert why in judge.compared_cells()[API_1].verdict.reason


def test_a_group_that_can_not_be_measured_is_dropped() -> None:
    judge = ComparisonJudge(POLICY, CELLS)
    judge.drop("api")
    assert (judge.open_cells("api"), judge.open_cells("model")) == ([], [MODEL_8])
    for _ in range(4):
        judge.add({MODEL_8: figure()})
    judge.look(last=False)
    assert [group.name for group in judge.compared_groups()] == ["model"]


@pytest.mark.parametrize("wrong_arm", ["base", "head"])
@pytest.mark.parametrize("api_8", [-0.2, 0.0, 0.2])
def test_a_cell_that_was_found_to_be_slower_stays_so_after_a_wrong_answer(wrong_arm: str, api_8: float) -> None:
    """Alone, or with its group; the others are judged as before."""
    judge = judge_after(4, api_1=-0.2, api_8=api_8)
    before = statuses(judge)
    assert before["api_1"] is Status.REGRESSED
    for reason in ("a dog", "a horse"):
        right, wrong = make_sample(), make_sample(failures=[reason])
        base, head = (wrong, right) if wrong_arm == "base" else (right, wrong)
        judge.add({API_1: PairFigure(math.nan, (), base, head, seconds=1.0)})
    judge.look(last=True)
    assert statuses(judge) == before
    [later] = [line for line in judge.compared_cells()[API_1].verdict.evidence if line.startswith("later ")]
    assert "a dog" in later

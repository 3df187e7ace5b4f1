"""The judge by a stored baseline: every verdict, its limits, and how often it errs on simulated runs."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from servegate.judging.estimators import MeanDifference, geometric_mean, predict_mean
from servegate.judging.policy import Policy
from servegate.judging.screen import screen_group
from servegate.records import Cell, Sample, Status, Verdict
from unit_tests.builders.runs.samples import make_sample, make_samples

CELL, OTHER = Cell("api", "concurrency", 8), Cell("api", "concurrency", 64)
STEADY = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)
NOISY = (100.0, 130.0, 75.0, 110.0, 90.0, 120.0, 85.0, 100.0)
# Spread of fresh processes of identical code, measured on a small shared machine.
SPREAD = 0.15


def judge(policy: Policy, baseline: Sequence[float] | None, samples: Sequence[Sample]) -> Verdict:
    """The verdict of a group's only cell."""
    stored = {} if baseline is None else {str(CELL): baseline}
    return screen_group(policy, stored, {CELL: samples})[CELL]


@pytest.mark.parametrize(
    ("baseline", "samples", "status", "in_reason"),
    [
        (STEADY, make_samples([100.0, 100.2, 99.8]), Status.PASS, "a slowdown of 10 % is excluded at 95%"),
        (STEADY, make_samples([120.0, 121.0, 119.0]), Status.IMPROVED, "+20.0%"),
        (STEADY, make_samples([80.0, 81.0, 79.0]), Status.REGRESSED, "drift not excluded"),
        (NOISY, make_samples([100.0, 101.0, 99.0]), Status.INCONCLUSIVE, "is the slowdown excluded, PASS needs 10 %"),
        (NOISY, make_samples([80.0, 81.0, 79.0]), Status.INCONCLUSIVE, "throughput -20.1%"),
        (NOISY, make_samples([130.0, 131.0, 129.0]), Status.INCONCLUSIVE, "too noisy"),
        (None, make_samples([100.0]), Status.NO_BASELINE, "no such cell"),
        (
            STEADY,
            [make_sample(100.0), make_sample(failures=["status 500: no", "status 500: no"], answers=50)],
            Status.INVALID,
            "2 of 250 answers were wrong or failed: status 500: no",
        ),
        (None, [make_sample(failures=["not JSON"])], Status.INVALID, "not JSON"),
        (
            STEADY,
            [make_sample(100.0, client_cores=[0.5, 0.4]), make_sample(100.0, client_cores=[0.3, 0.95])],
            Status.INVALID,
            "a client process used 0.95 of its one core",
        ),
        (STEADY, [make_sample(100.0, client_cores=[0.9, 0.9])] * 3, Status.PASS, "excluded"),
    ],
)
def test_verdict(baseline: Sequence[float] | None, samples: list[Sample], status: Status, in_reason: str) -> None:
    """Each case has exactly this verdict, and its reason says why."""
    verdict = judge(Policy(), baseline, samples)
    assert (verdict.status, in_reason in verdict.reason) == (status, True), verdict


def both(policy: Policy, now: Sequence[float], now_of_other: Sequence[float]) -> tuple[Verdict, Verdict]:
    """The verdicts of a group's two cells, both as steady in the baseline."""
    stored = {str(CELL): STEADY, str(OTHER): STEADY}
    verdicts = screen_group(policy, stored, {CELL: make_samples(now), OTHER: make_samples(now_of_other)})
    return verdicts[CELL], verdicts[OTHER]


def test_a_group_is_judged_before_its_cells() -> None:
    """Each cell lost less than a cell is accused from; together they lost more than the group is."""
    verdicts = both(Policy(cells=2), [97.9, 98.0, 98.1], [97.9, 98.0, 98.1])
    assert {verdict.status for verdict in verdicts} == {Status.REGRESSED}
    assert "api is REGRESSED as a whole" in verdicts[0].reason


def test_a_cell_is_accused_though_its_group_is_not() -> None:
    """What the other gained hides it in the mean."""
    one, other = both(Policy(cells=2), [93.9, 94.0, 94.1], [105.9, 106.0, 106.1])
    assert (one.status, other.status) == (Status.REGRESSED, Status.IMPROVED)


def test_a_cell_that_cannot_be_judged_leaves_its_group_to_the_others() -> None:
    stored = {str(CELL): STEADY, str(OTHER): STEADY}
    wrong = [make_sample(failures=["wrong"])] * 3
    verdicts = screen_group(Policy(cells=2), stored, {CELL: wrong, OTHER: make_samples([100.0] * 3)})
    assert (verdicts[CELL].status, verdicts[OTHER].status) == (Status.INVALID, Status.PASS)


def test_a_drop_below_what_is_accused_is_passed_however_certain_it_is() -> None:
    """0.9 % slower with hardly any spread: beyond all chance, and too little to matter."""
    baseline = [100.0, 100.01, 99.99, 100.0]
    assert judge(Policy(), baseline, make_samples([99.1])).status is Status.PASS
    assert judge(Policy(margin=0.01), baseline, make_samples([99.1])).status is Status.REGRESSED
    assert judge(Policy(), baseline, make_samples([100.9])).status is Status.PASS
    assert judge(Policy(margin=0.01), baseline, make_samples([100.9])).status is Status.IMPROVED


def test_a_baseline_without_any_spread_still_gives_a_verdict() -> None:
    baseline = [100.0, 100.0]
    assert judge(Policy(), baseline, make_samples([100.0])).status is Status.PASS
    assert judge(Policy(), baseline, make_samples([90.0])).status is Status.REGRESSED
    assert judge(Policy(), baseline, make_samples([110.0])).status is Status.IMPROVED


def prediction_of(baseline: Sequence[float], now: Sequence[float]) -> MeanDifference:
    return predict_mean([math.log(value) for value in baseline], [math.log(value) for value in now])


@pytest.mark.parametrize(("factor", "status"), [(0.96, Status.REGRESSED), (1.04, Status.IMPROVED)])
def test_a_change_is_accused_at_the_groups_share_of_the_error_level(factor: float, status: Status) -> None:
    """At a little less it is not; the one p is of a drop, the other of a rise."""
    now = [factor * 100.0] * 3
    prediction = prediction_of(STEADY, now)
    p = float(min(prediction.p_lower(), prediction.p_higher()))
    policy = Policy(groups=4, cells=1000)
    assert judge(replace(policy, error_level=4 / 0.8 * p * 0.99), STEADY, make_samples(now)).status is not status
    assert judge(replace(policy, error_level=4 / 0.8 * p * 1.01), STEADY, make_samples(now)).status is status


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (80.0, "throughput -20.0%; api is REGRESSED as a whole; by the stored baseline alone, drift not excluded"),
        (100.5, "throughput +0.5%; a slowdown of 10 % is excluded at 95%"),
        (
            125.0,
            "throughput +25.0%; 3 % or more, and more than fresh processes differ; "
            "by the stored baseline alone, drift not excluded",
        ),
    ],
)
def test_the_reason_is_one_sentence_for_each_verdict(now: float, reason: str) -> None:
    assert judge(Policy(), STEADY, make_samples([now] * 3)).reason == reason


def test_throughput_over_processes_is_told_as_it_was_compared() -> None:
    """Of three new processes the middle one, of three stored ones all: nobody knows yet which of them was disturbed."""
    samples = make_samples([100.0, 150.0, 110.0])
    verdict = judge(Policy(), [100.0, 150.0, 110.0], samples)
    assert verdict.now_per_s == pytest.approx(110.0)
    assert verdict.baseline_per_s == pytest.approx(geometric_mean([100.0, 150.0, 110.0]))
    verdict = judge(Policy(), None, samples)
    assert verdict.reason == "the baseline has no such cell"
    assert verdict.now_per_s == pytest.approx(110.0)
    assert (verdict.baseline_per_s, verdict.change, verdict.evidence) == (None, None, ())


def test_evidence_names_every_process_and_the_interval() -> None:
    verdict = judge(Policy(groups=2, cells=8), STEADY, make_samples([50.0, 51.0]))
    evidence = "\n".join(verdict.evidence)
    assert "100.0 101.0 99.0 100.5 99.5 100.2 99.8 100.0" in evidence
    assert "50.0 51.0" in evidence
    assert "stored processes differ by 0.5% (standard deviation)" in evidence
    assert "accused below 0.00012" in evidence
    assert "accused below 0.002" in evidence
    assert verdict.change is not None
    assert str(verdict.change) in evidence
    assert verdict.change.low < verdict.change.estimate < verdict.change.high < 0
    assert verdict.now_per_s == pytest.approx(geometric_mean([50.0, 51.0]))
    assert verdict.baseline_per_s == pytest.approx(geometric_mean(sorted(STEADY)[1:-1]))  # one at either end left out


def test_identical_code_is_accused_in_at_most_one_run_of_a_hundred() -> None:
    """200 runs of two groups of 4 cells, each 8 stored and 3 new processes that differ by 15 %."""
    runs, cells = 200, [Cell("api", "concurrency", value) for value in (1, 8, 32, 64)]
    draws = np.exp(np.random.default_rng(7).normal(np.log(100), SPREAD, (runs, 2, 4, 11)))
    policy = Policy(groups=2, cells=8)

    def accused(group: list[list[float]]) -> bool:
        stored = {str(cell): values[:8] for cell, values in zip(cells, group, strict=True)}
        now = {cell: make_samples(values[8:]) for cell, values in zip(cells, group, strict=True)}
        return any(verdict.status is Status.REGRESSED for verdict in screen_group(policy, stored, now).values())

    accused_runs = sum(any(accused(group) for group in run) for run in draws.tolist())
    assert accused_runs <= 7  # expected: 1; more than 7 has a probability of less than 0.1 %


def test_a_threefold_slowdown_is_accused_despite_the_noise() -> None:
    """In nine of ten runs, at 15 % spread, 8 stored and 3 new processes and 8 cells."""
    draws = np.exp(np.random.default_rng(11).normal(np.log(100), SPREAD, (200, 11))).tolist()
    policy = Policy(groups=2, cells=8)
    verdicts = [judge(policy, row[:8], make_samples(value / 3 for value in row[8:])) for row in draws]
    assert sum(verdict.status is Status.REGRESSED for verdict in verdicts) >= 180


throughputs = st.floats(10.0, 1000.0)


@given(
    baseline=st.lists(throughputs, min_size=2, max_size=10),
    now=st.lists(throughputs, min_size=1, max_size=4),
    exponent=st.integers(-8, 8),
)
def test_the_unit_of_throughput_does_not_matter(baseline: list[float], now: list[float], exponent: int) -> None:
    """All values times a constant give the same verdict and the same change."""
    scale = 2.0**exponent
    verdict = judge(Policy(), baseline, make_samples(now))
    scaled = judge(Policy(), [scale * value for value in baseline], make_samples(scale * value for value in now))
    assert verdict.change is not None
    assert scaled.change is not None
    # There, rounding decides.
    assume(all(abs(abs(verdict.change.estimate) - edge) > 1e-9 for edge in (0.01, 0.03)))
    assert scaled.change.estimate == pytest.approx(verdict.change.estimate, abs=1e-9)
    assert scaled.status is verdict.status


@given(
    baseline=st.lists(throughputs, min_size=2, max_size=10),
    now=st.lists(throughputs, min_size=1, max_size=4),
    factors=st.lists(st.floats(0.2, 1.0), min_size=4, max_size=4),
)
def test_slower_samples_are_never_judged_better(baseline: list[float], now: list[float], factors: list[float]) -> None:
    order = (Status.REGRESSED, Status.INCONCLUSIVE, Status.PASS, Status.IMPROVED)
    slower = [value * factor for value, factor in zip(now, factors, strict=False)]
    before = judge(Policy(), baseline, make_samples(now)).status
    after = judge(Policy(), baseline, make_samples(slower)).status
    assert order.index(after) <= order.index(before)

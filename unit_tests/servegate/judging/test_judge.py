"""The rule: every verdict, its limits, and how often it errs on simulated runs."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from servegate.judging.estimators import MeanDifference, geometric_mean, predict_mean
from servegate.judging.judge import Exclusion, Policy, judge, why_invalid
from servegate.records import GpuUse, Sample, Status
from unit_tests.builders.samples import make_sample, make_samples

STEADY = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.0)
NOISY = (100.0, 130.0, 75.0, 110.0, 90.0, 120.0, 85.0, 100.0)
# Spread of fresh processes of identical code, measured on a small shared machine.
SPREAD = 0.15


@pytest.mark.parametrize(
    ("baseline", "samples", "status", "in_reason"),
    [
        (STEADY, make_samples([100.0, 100.2, 99.8]), Status.PASS, "a slowdown of 10% at 95% and 5% at 80% is excluded"),
        (STEADY, make_samples([120.0, 121.0, 119.0]), Status.IMPROVED, "+20.0%"),
        (STEADY, make_samples([80.0, 81.0, 79.0]), Status.REGRESSED, "drift not excluded"),
        (NOISY, make_samples([100.0, 101.0, 99.0]), Status.INCONCLUSIVE, "can't exclude a slowdown of 10% at 95% and"),
        (NOISY, make_samples([80.0, 81.0, 79.0]), Status.INCONCLUSIVE, "throughput -20.1%"),
        (NOISY, make_samples([130.0, 131.0, 129.0]), Status.PASS, "excluded"),
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
            [make_sample(100.0, client_cpu_cores=0.5), make_sample(100.0, client_cpu_cores=0.95)],
            Status.INVALID,
            "the client used 0.95 of its one core",
        ),
        (STEADY, [make_sample(client_cpu_cores=0.9)], Status.PASS, "excluded"),
    ],
)
def test_verdict(baseline: Sequence[float] | None, samples: list[Sample], status: Status, in_reason: str) -> None:
    """Each case has exactly this verdict, and its reason says why."""
    verdict = judge(Policy(), baseline, samples)
    assert (verdict.status, in_reason in verdict.reason) == (status, True), verdict


def test_a_drop_below_the_margin_is_not_accused_however_certain_it_is() -> None:
    """2 % slower with hardly any spread: beyond all chance, and too little to matter."""
    baseline = [100.0, 100.01, 99.99, 100.0]
    assert judge(Policy(), baseline, make_samples([98.0])).status is Status.PASS
    assert judge(Policy(margin=0.01), baseline, make_samples([98.0])).status is Status.REGRESSED


def test_a_rise_below_the_margin_is_no_improvement() -> None:
    baseline = [100.0, 100.01, 99.99, 100.0]
    assert judge(Policy(), baseline, make_samples([102.0])).status is Status.PASS
    assert judge(Policy(margin=0.01), baseline, make_samples([102.0])).status is Status.IMPROVED


def test_a_baseline_without_any_spread_still_gives_a_verdict() -> None:
    baseline = [100.0, 100.0]
    assert judge(Policy(), baseline, make_samples([100.0])).status is Status.PASS
    assert judge(Policy(), baseline, make_samples([90.0])).status is Status.REGRESSED
    assert judge(Policy(), baseline, make_samples([110.0])).status is Status.IMPROVED


def test_the_error_level_is_shared_over_the_cells() -> None:
    """What is accused as the only cell needn't be accused as one of many."""
    drop = make_samples([96.5])  # p = 0.0004
    assert judge(Policy(gated_cells=1), STEADY, drop).status is Status.REGRESSED
    assert judge(Policy(gated_cells=100), STEADY, drop).status is not Status.REGRESSED
    assert Policy(error_level=0.01, gated_cells=8).cell_error_level == pytest.approx(0.00125)


def prediction_of(baseline: Sequence[float], now: Sequence[float]) -> MeanDifference:
    return predict_mean([math.log(value) for value in baseline], [math.log(value) for value in now])


@pytest.mark.parametrize(("factor", "status"), [(0.96, Status.REGRESSED), (1.04, Status.IMPROVED)])
def test_a_change_is_accused_at_the_error_level_and_not_above_it(factor: float, status: Status) -> None:
    """At p exactly it is not, at a little more it is; the one p is of a drop, the other of a rise."""
    now = [factor * 100.0] * 3
    prediction = prediction_of(STEADY, now)
    p = min(prediction.p_lower(), prediction.p_higher())
    policy = Policy(gated_cells=4)
    assert judge(replace(policy, error_level=4 * p), STEADY, make_samples(now)).status is not status
    assert judge(replace(policy, error_level=4 * p * 1.01), STEADY, make_samples(now)).status is status


@pytest.mark.parametrize(("factor", "status"), [(0.9, Status.REGRESSED), (1.1, Status.IMPROVED)])
def test_a_change_as_large_as_the_margin_is_accused(factor: float, status: Status) -> None:
    now = [factor * 100.0] * 3
    change = abs(prediction_of(STEADY, now).as_change().estimate)
    assert judge(Policy(margin=change), STEADY, make_samples(now)).status is status
    assert judge(Policy(margin=math.nextafter(change, 1)), STEADY, make_samples(now)).status is not status


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (80.0, "throughput -20.0%; more than the margin of 3% and than fresh processes differ; by the stored baseline "
               "alone, drift not excluded"),
        (101.0, "throughput +1.0%; a slowdown of 10% at 95% and 5% at 80% is excluded"),
        (125.0, "throughput +25.0%; more than the margin of 3% and than fresh processes differ"),
    ],
)  # fmt: skip
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


def test_a_client_is_the_bottleneck_beyond_its_ceiling() -> None:
    """The reason names both; samples of which none has a client, or none at all, are no reason."""
    reason = "the client used 0.95 of its one core (ceiling 0.9): it was the bottleneck, not the service"
    assert why_invalid(Policy(), [make_sample(client_cpu_cores=0.95), make_sample()]) == reason
    assert why_invalid(Policy(), [make_sample(client_cpu_cores=0.9)]) is None
    assert why_invalid(Policy(), [make_sample()]) is None
    assert why_invalid(Policy(), []) is None


def test_pass_demands_every_exclusion() -> None:
    """And the reason names only those that are open."""
    policy = Policy(exclusions=(Exclusion(0.50, 0.95), Exclusion(0.01, 0.95)))
    verdict = judge(policy, NOISY, make_samples([100.0, 100.0, 100.0]))
    assert verdict.status is Status.INCONCLUSIVE
    assert "1% at 95%" in verdict.reason
    assert "50%" not in verdict.reason


def test_evidence_names_every_process_and_the_interval() -> None:
    verdict = judge(Policy(gated_cells=8), STEADY, make_samples([50.0, 51.0]))
    evidence = "\n".join(verdict.evidence)
    assert "100.0 101.0 99.0 100.5 99.5 100.2 99.8 100.0" in evidence
    assert "50.0 51.0" in evidence
    assert "stored processes differ by 0.5% (standard deviation)" in evidence
    assert "accused below 0.0013 (0.01 over 8 cells)" in evidence
    assert verdict.change is not None
    assert str(verdict.change) in evidence
    assert verdict.change.low < verdict.change.estimate < verdict.change.high < 0
    assert verdict.now_per_s == pytest.approx(geometric_mean([50.0, 51.0]))
    assert verdict.baseline_per_s == pytest.approx(geometric_mean(sorted(STEADY)[1:-1]))  # one at either end left out


def test_only_a_few_failures_are_shown_each_once() -> None:
    failures = ["first", "first", "second", "fourth"]
    reason = judge(Policy(), STEADY, [make_sample(failures=failures)]).reason
    assert reason.endswith("4 of 200 answers were wrong or failed: first; second")


def test_identical_code_is_accused_in_at_most_one_run_of_a_hundred() -> None:
    """200 runs of 8 cells, each 8 stored and 3 new processes that differ by 15 %."""
    runs, cells = 200, 8
    draws = np.exp(np.random.default_rng(7).normal(np.log(100), SPREAD, (runs, cells, 11)))
    policy = Policy(gated_cells=cells)

    def accused(values: Sequence[float]) -> bool:
        return judge(policy, values[:8], make_samples(values[8:])).status is Status.REGRESSED

    accused_runs = sum(any(accused(cell) for cell in run) for run in draws.tolist())
    assert accused_runs <= 7  # expected: 2; more than 7 has a probability of 0.1 %


def test_a_threefold_slowdown_is_accused_despite_the_noise() -> None:
    """In nine of ten runs, at 15 % spread, 8 stored and 3 new processes and 8 cells."""
    draws = np.exp(np.random.default_rng(11).normal(np.log(100), SPREAD, (200, 11))).tolist()
    policy = Policy(gated_cells=8)
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
    assume(abs(abs(verdict.change.estimate) - Policy().margin) > 1e-9)  # there, rounding decides
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


@pytest.mark.parametrize(
    ("slowed_by", "temperature_c", "said"),
    [
        (("hardware thermal slowdown",), 91.0, "slowed by hardware thermal slowdown at up to 91 degrees Celsius"),
        (("power brake", "hardware slowdown"), None, "slowed by power brake, hardware slowdown: "),
    ],
)
def test_a_gpu_that_slowed_itself_down_invalidates(
    slowed_by: tuple[str, ...], temperature_c: float | None, said: str
) -> None:
    """Its cooling was measured, not the code; in one process of several, too."""
    gpu = GpuUse(90.0, 2**30, 300.0, None, temperature_c, 900.0, slowed_by)
    samples = [make_sample(100.0), make_sample(100.0, gpu=gpu)]
    verdict = judge(Policy(), [100.0] * 8, samples)
    assert verdict.status is Status.INVALID
    assert said in verdict.reason


def test_a_gpu_that_ran_as_it_should_does_not() -> None:
    sample = make_sample(100.0, gpu=GpuUse(90.0, 2**30, 300.0, None, 80.0, 1800.0))
    assert judge(Policy(), [100.0 + place / 10 for place in range(8)], [sample] * 3).status is Status.PASS

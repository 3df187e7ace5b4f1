"""The stage that moved is named by its CPU time, then by its time; what only waits never is."""

from collections.abc import Mapping
from dataclasses import astuple, replace

import numpy as np
import pytest

from servegate.judging.pairs import PairFigure
from servegate.judging.stages import (
    PartsOfPair,
    StageChange,
    compare_stages,
    describe_stages,
    name_stages,
    stages_that_moved,
)
from servegate.records import REST, Change, Sample, StageTime, Telemetry
from unit_tests.builders.runs.samples import make_gauges, make_sample

MARGIN = 0.03
# What a request takes in each stage: (ms, CPU ms).
_STAGES: Mapping[str, tuple[float, float | None]] = {
    "decode": (2.0, 1.9),
    "queue": (40.0, None),
    "predict": (100.0, 9.0),
    "encode": (0.06, 0.05),
}

_REST_MS, _REST_CPU_MS = 5.0, 4.0


def pairs(
    slower: Mapping[str, float] | None = None,
    longer: Mapping[str, float] | None = None,
    count: int = 3,
    noise: float = 0.01,
    seed: int = 0,
) -> list[PartsOfPair]:
    """Pairs whose head needs so many times the CPU time in a stage, or so many times the time alone."""
    rng = np.random.default_rng(seed)

    def sample(cpu: Mapping[str, float], time: Mapping[str, float]) -> Sample:
        stages = {}
        for name, (ms, cpu_ms) in _STAGES.items():
            noisy = float(np.exp(noise * rng.standard_normal())) * cpu.get(name, 1.0)
            stages[name] = StageTime(ms * noisy * time.get(name, 1.0), None if cpu_ms is None else cpu_ms * noisy)
        rest = float(np.exp(noise * rng.standard_normal()))
        core_ms = sum(stage.cpu_ms or 0.0 for stage in stages.values()) + _REST_CPU_MS * rest
        mean_ms = sum(stage.ms for stage in stages.values()) + _REST_MS * rest
        made = make_sample()
        return replace(
            made,
            stages=stages,
            latency=replace(made.latency, mean_ms=mean_ms),
            telemetry=Telemetry(cpu_cores=core_ms * made.mean_throughput_per_s / 1e3, gauges=make_gauges(), gpu=None),
        )

    return [(sample({}, {}).parts, sample(slower or {}, longer or {}).parts) for _ in range(count)]


def named(changes: tuple[StageChange, ...]) -> list[str]:
    return [change.name for change in stages_that_moved(changes, MARGIN)]


def test_the_stage_that_needs_more_cpu_is_named_with_its_interval() -> None:
    changes = compare_stages(pairs({"decode": 1.38}))
    assert named(changes) == ["decode"]
    cpu = changes[0].cpu
    assert cpu is not None
    assert cpu.low < 0.38 < cpu.high
    line = describe_stages(changes, MARGIN)
    assert line.startswith("decode +")
    assert "of its CPU time (1.9" in line
    assert line.endswith("; no change found in queue, predict, encode, rest")


def test_of_two_the_one_with_more_milliseconds_comes_first() -> None:
    assert named(compare_stages(pairs({"decode": 1.3, "predict": 1.2}))) == ["predict", "decode"]
    assert named(compare_stages(pairs({"decode": 0.7, "encode": 2.0}))) == ["decode", "encode"]


def test_what_waits_for_a_slower_stage_is_not_named() -> None:
    """Decode needs more CPU; the queue and the prediction take longer for it, without needing more."""
    assert named(compare_stages(pairs({"decode": 1.3}, {"queue": 2.0, "predict": 1.2}))) == ["decode"]


def test_where_no_cpu_time_moved_the_time_says_it() -> None:
    """As with a lock or a disk; a queue has no CPU time, and only waits for others."""
    changes = compare_stages(pairs(longer={"decode": 3.0, "queue": 3.0}))
    assert named(changes) == ["decode"]
    assert "of its time (2" in describe_stages(changes, MARGIN)


def test_identical_code_names_nothing() -> None:
    """At a noise of 1 % a stage; the intervals are shown."""
    false = sum(bool(named(compare_stages(pairs(seed=seed)))) for seed in range(200))
    assert false <= 4
    line = describe_stages(compare_stages(pairs()), MARGIN)
    assert line.startswith("no stage stands out; decode ")
    assert "predict " in line


@pytest.mark.parametrize("size", [1.1, 1.2])
@pytest.mark.parametrize("stage", ["decode", "predict", "encode"])
def test_a_slower_stage_is_found(stage: str, size: float) -> None:
    found = sum(named(compare_stages(pairs({stage: size}, seed=seed)))[:1] == [stage] for seed in range(100))
    assert found >= 98


def test_the_rest_is_what_no_stage_accounts_for() -> None:
    """Of the request's time, and of the service's CPU time: 1.5 cores at 100 requests a second are 15 ms each."""
    sample = replace(make_sample(), stages={"decode": StageTime(2.0, 1.9), "predict": StageTime(7.0, 9.0)})
    assert sample.latency.mean_ms == 10.0
    assert astuple(sample.parts[REST]) == pytest.approx((1.0, 15.0 - 10.9))
    assert list(sample.parts) == ["decode", "predict", REST]
    assert make_sample().parts == {}
    assert replace(make_sample(failures=["wrong"]), stages=sample.stages).parts == {}


def test_without_telemetry_the_rest_has_no_cpu_time() -> None:
    sample = replace(make_sample(), telemetry=None, stages={"decode": StageTime(2.0, 1.9)})
    assert sample.parts[REST] == StageTime(8.0, None)


def test_nothing_is_compared_without_stages_or_with_a_single_pair() -> None:
    assert compare_stages(pairs(count=1)) == ()
    assert compare_stages([PairFigure(0.0, (), make_sample(), make_sample(), 1.0).parts] * 3) == ()


def test_a_stage_that_only_one_arm_has_is_left_out() -> None:
    """A commit may add one."""
    old = [({"predict": base["predict"]}, head) for base, head in pairs()]
    assert [change.name for change in compare_stages(old)] == ["predict"]


UP = Change(0.1, 0.05, 0.15)
STILL = Change(0.01, -0.02, 0.04)


def change_of(name: str, base_ms: float, head_ms: float, cpu: Change, took: Change | None = UP) -> StageChange:
    """A stage that needs as much CPU time as time."""
    return StageChange(name, StageTime(base_ms, base_ms), StageTime(head_ms, head_ms), cpu, took)


@pytest.mark.parametrize("cpu", [UP, STILL])
@pytest.mark.parametrize("order", [1, -1])
def test_the_one_that_moved_by_most_milliseconds_comes_first(cpu: Change, order: int) -> None:
    """By CPU time or by time, to more or to less; not the one that takes most, before or after."""
    changes = [
        change_of("small", 1.0, 2.0, cpu),
        change_of("shrinks", 8.0, 4.0, cpu),
        change_of("large", 99.0, 102.0, cpu),
        change_of("grows", 2.0, 7.0, cpu),
    ][::order]
    assert named(tuple(changes)) == ["grows", "shrinks", "large", "small"]


@pytest.mark.parametrize(
    ("change", "is_moved"),
    [
        pytest.param(Change(MARGIN, 0.01, 0.05), True, id="by the margin"),
        pytest.param(Change(-MARGIN, -0.05, -0.01), True, id="down by the margin"),
        pytest.param(Change(0.029, 0.01, 0.05), False, id="by less"),
        pytest.param(Change(0.2, 0.0, 0.5), False, id="no change is just within its interval"),
        pytest.param(Change(-0.2, -0.5, 0.0), False, id="from the other side, too"),
        pytest.param(Change(0.2, -0.1, 0.5), False, id="no change is well within it"),
    ],
)
def test_a_stage_has_moved_by_the_margin_at_least_and_beyond_its_interval(change: Change, is_moved: bool) -> None:
    assert bool(named((change_of("predict", 1.0, 1.1, change, STILL),))) == is_moved
    assert bool(named((change_of("predict", 1.0, 1.1, STILL, change),))) == is_moved


def test_what_is_said_of_stages() -> None:
    """Those that moved with their intervals and times, then the others by name; without such, all with intervals."""
    predict, decode = change_of("predict", 2.0, 4.0, UP), change_of("decode", 1.0, 1.123456, UP)
    encode, queue = change_of("encode", 3.0, 3.0, STILL, STILL), replace(change_of("queue", 1.0, 9.0, UP), cpu=None)
    moved = (
        "predict +10.0% [+5.0%, +15.0%] of its CPU time (2 to 4 ms); "
        "decode +10.0% [+5.0%, +15.0%] of its CPU time (1 to 1.12 ms)"
    )
    assert name_stages([decode, predict, encode], MARGIN) == moved
    assert describe_stages([decode, predict], MARGIN) == moved
    assert describe_stages([queue, decode, predict, encode], MARGIN) == f"{moved}; no change found in queue, encode"
    still = "encode +1.0% [-2.0%, +4.0%] of its CPU time (3 to 3 ms)"
    assert describe_stages([encode, queue, encode], MARGIN) == f"no stage stands out; {still}, {still}"
    assert name_stages([encode], MARGIN) == "no stage stands out"
    waits = change_of("predict", 2.0, 4.0, STILL)
    assert name_stages([waits], MARGIN) == "predict +10.0% [+5.0%, +15.0%] of its time (2 to 4 ms)"


@pytest.mark.parametrize("missing", [None, 0.0])
@pytest.mark.parametrize("arm", [0, 1])
def test_a_stage_whose_cpu_time_is_once_too_small_has_no_change_of_it(missing: float | None, arm: int) -> None:
    """A logarithm of it would be none; the change of its time is."""
    known = {"predict": StageTime(8.0, 4.0)}
    unknown = {"predict": StageTime(8.0, missing)}
    pair: PartsOfPair = (unknown, known) if arm == 0 else (known, unknown)
    (change,) = compare_stages([(known, known), pair])
    assert change.cpu is None
    assert change.took == Change(0.0, 0.0, 0.0)

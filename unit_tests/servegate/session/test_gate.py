"""One run of the gate: what is measured when, and which verdicts fail."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import MeasurementError, ProcessError, ServegateError
from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.cell_result import CellResult
from servegate.measure.targets import Conditions, MeasurementTarget
from servegate.options.settings import Settings
from servegate.records import Cell, Sample, Status, Verdict
from servegate.session.gate import CellFailedError, Gate
from servegate.session.selection import Selection
from servegate.storage.baselines import Baseline
from servegate.storage.commits import CommitIdentity
from unit_tests.builders.gate_settings import API_1, API_8, MODEL_8, SETTINGS, judging
from unit_tests.builders.runs.samples import STORED, make_sample
from unit_tests.builders.targets import FakeTarget, no_session_server


def baseline(*cells: Cell) -> Baseline:
    throughput = {str(cell): STORED for cell in cells}
    return Baseline(Path("baseline.json"), throughput, CommitIdentity("c", "d", "e"), {})


class CountingTarget(FakeTarget):
    """A target whose processes measure what `sample` returns, or don't start; counts them."""

    def __init__(
        self, name: str, sample: Callable[[], Sample] = make_sample, error: ServegateError | None = None
    ) -> None:
        super().__init__(name)
        self.details = {f"{name} precision": "float32"}
        self.started = 0
        self._sample = sample
        self._error = error

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator["CountingTarget"]:
        self.started += 1
        if self._error is not None:
            raise self._error
        yield self

    def measure(self, cell: Cell, seconds: float) -> Sample:
        return self._sample()


def make_gate(selected: Sequence[Cell], stored: Baseline | None = None, settings: Settings = SETTINGS) -> Gate:
    shown: list[str] = []
    return Gate(Selection(settings, cells=selected), stored, progress=shown.append)


def measure(gate: Gate, target: MeasurementTarget, cell: Cell) -> CellResult:
    """The cell's result, of a target that may be the run's only one."""
    gate.selection.targets = gate.selection.targets or [target]
    return gate.measure(target, cell, no_session_server)


def test_all_judged_targets_are_measured_when_the_first_cell_is_asked_for_and_once() -> None:
    """Each cell of them has its result then; a group that only informs is measured when it is asked for."""
    latency = Cell("latency", "load", 70)
    settings = replace(SETTINGS, informing=frozenset({"latency"}))
    gate = make_gate([API_1, MODEL_8, API_8, latency], baseline(API_1, API_8, MODEL_8), settings)
    gate.selection.targets = api, model, informing = [CountingTarget(name) for name in ("api", "model", "latency")]
    assert measure(gate, api, API_8).cell == API_8
    assert list(gate.results.cells) == [API_1, API_8, MODEL_8]
    assert measure(gate, api, API_1).cell == API_1
    assert measure(gate, model, MODEL_8).cell == MODEL_8
    assert (api.started, model.started, informing.started) == (2, 2, 0)
    assert gate.results.details == {"api precision": "float32", "model precision": "float32"}
    assert measure(gate, informing, latency).verdict.status is Status.INFORMS
    assert (api.started, model.started, informing.started) == (2, 2, 2)


def test_cells_that_were_not_selected_are_not_measured() -> None:
    gate = make_gate([API_8], baseline(API_1, API_8))
    measure(gate, CountingTarget("api"), API_8)
    assert list(gate.results.cells) == [API_8]


@pytest.mark.parametrize(
    "error",
    [
        kind("was not ready")
        for kind in (ProcessError, pytest.fail.Exception, pytest.skip.Exception, asyncio.CancelledError)
    ],
)
def test_an_error_of_a_group_is_each_of_its_cells_error_and_it_is_not_measured_again(error: Any) -> None:
    """Also what pytest.fail and its like raise in a target, and a task that was cancelled: no Exception, either."""
    gate = make_gate([API_1, API_8, MODEL_8], baseline(API_1, API_8, MODEL_8))
    gate.selection.targets = api, model = [CountingTarget("api", error=error), CountingTarget("model")]
    for cell in (API_1, API_8):
        with pytest.raises(type(error), match="was not ready"):
            measure(gate, api, cell)
    assert measure(gate, model, MODEL_8).verdict.status is Status.PASS
    assert (api.started, model.started) == (1, 2)
    is_skipped = isinstance(error, pytest.skip.Exception)
    assert ("`api` could not be measured: was not ready" in gate.sentence) is not is_skipped


@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.exit.Exception("enough")])
def test_what_ends_the_run_ends_it_at_once(error: Any) -> None:
    gate = make_gate([API_8, MODEL_8], baseline(API_8, MODEL_8))
    gate.selection.targets = api, model = [CountingTarget("api", error=error), CountingTarget("model")]
    with pytest.raises(type(error)):
        measure(gate, api, API_8)
    assert model.started == 0


def test_a_verdict_compares_with_the_cells_own_stored_values() -> None:
    gate = make_gate([API_1, API_8], baseline(API_1, API_8))
    result = measure(gate, CountingTarget("api", lambda: make_sample(30.0)), API_1)
    assert result.verdict.status is Status.REGRESSED
    assert result.unit == "requests"
    assert len(result.samples) == SETTINGS.measuring.processes


@pytest.mark.parametrize(("faster", "slows_down"), [(1, True), (100, False)])
def test_a_regression_by_slowing_down_halfway_says_so(faster: int, *, slows_down: bool) -> None:
    """What isn't accused has nothing to explain."""
    rounds_s = [0.1 / faster] * 6 + [0.3 / faster] * 6
    gate = make_gate([API_8], baseline(API_8))
    group = CountingTarget("api", lambda: replace(make_sample(), rounds_s=tuple(rounds_s)))
    verdict = measure(gate, group, API_8).verdict
    assert (verdict.status is Status.REGRESSED) == slows_down
    assert ("; every process slows down as it runs: the last third" in verdict.reason) == slows_down


def test_the_error_level_is_shared_over_the_selected_cells() -> None:
    gate = make_gate([API_1, API_8, MODEL_8], baseline(API_1))
    gate.selection.targets = api, _ = [CountingTarget("api"), CountingTarget("model")]
    assert (gate.selection.policy.groups, gate.selection.policy.cells) == (2, 3)
    # A fifth of half of 1 % over three cells, and four fifths of it over two groups.
    evidence = "\n".join(measure(gate, api, API_1).verdict.evidence)
    assert "accused below 0.00033\n" in evidence
    assert evidence.endswith("accused below 0.002")


def test_a_cell_missing_from_the_baseline_has_no_baseline() -> None:
    gate = make_gate([API_1, API_8], baseline(API_1))
    assert measure(gate, CountingTarget("api"), API_8).verdict.status is Status.NO_BASELINE
    assert measure(gate, CountingTarget("api"), API_1).verdict.status is Status.PASS


def test_without_judging_a_cell_is_not_judged_but_measured() -> None:
    gate = make_gate([API_1], None, judging(is_judged=False))
    verdict = measure(gate, CountingTarget("api"), API_1).verdict
    assert verdict.status is Status.NOT_JUDGED
    assert verdict.now_per_s == pytest.approx(100.0)
    assert verdict.status not in gate.failing


def test_wrong_answers_are_invalid_even_when_nothing_is_judged() -> None:
    gate = make_gate([API_1], None, judging(is_judged=False))
    verdict = measure(gate, CountingTarget("api", lambda: make_sample(failures=["status 500: no"])), API_1).verdict
    assert verdict.status is Status.INVALID
    assert verdict.status in gate.failing


def slow_sample() -> Sample:
    return replace(make_sample(), latencies_ms=(10.0,) * 90 + (300.0,) * 10)


LIMITS = LatencyLimits({"": 250.0}, {"": 0.01})


@pytest.mark.parametrize("is_judged", [True, False])
def test_a_limit_of_latency_holds_whether_or_not_anything_is_compared(*, is_judged: bool) -> None:
    settings = judging(is_judged=is_judged, latency_limits=LIMITS)
    gate = make_gate([API_1], baseline(API_1), settings)
    result = measure(gate, CountingTarget("api", slow_sample), API_1)
    assert (result.verdict.status, result.verdict.status in gate.failing) == (Status.SLOW, True)
    assert result.slow_ms == 250.0
    assert gate.sentence.startswith(
        "Too many slow answers of `api[concurrency=1]`: 20 of 200 answers (10 %) took more than 250 ms"
    )


def test_each_cell_is_held_to_its_limit_once() -> None:
    """Whatever is measured later: in a run that compares nothing each target is measured when its first test asks."""
    gate = make_gate([API_1, MODEL_8], None, judging(is_judged=False, latency_limits=LIMITS))
    gate.selection.targets = api, model = [CountingTarget(name, slow_sample) for name in ("api", "model")]
    measure(gate, api, API_1)
    measure(gate, model, MODEL_8)
    for cell in (API_1, MODEL_8):
        (evidence,) = [line for line in gate.results.cells[cell].verdict.evidence if "without this limit" in line]
        assert evidence.startswith("without this limit not judged")


def test_a_group_that_only_informs_has_no_limit_of_latency() -> None:
    settings = judging(replace(SETTINGS, informing=frozenset({"model"})), latency_limits=LIMITS)
    gate = make_gate([MODEL_8], None, settings)
    assert measure(gate, CountingTarget("model", slow_sample), MODEL_8).verdict.status is Status.INFORMS


INFORMING = judging(replace(SETTINGS, informing=frozenset({"model"})), is_strict=True)


@pytest.mark.parametrize(("throughput_per_s", "change"), [(30.0, -0.7), (100.0, 0.0), (300.0, 2.0)])
def test_an_informing_cell_shows_its_change_and_is_not_judged(throughput_per_s: float, change: float) -> None:
    """However slow it is, and also where only certainty passes."""
    gate = make_gate([API_1, MODEL_8], baseline(API_1, MODEL_8), INFORMING)
    verdict = measure(gate, CountingTarget("model", lambda: make_sample(throughput_per_s)), MODEL_8).verdict
    assert verdict.status is Status.INFORMS
    assert verdict.change is not None
    assert verdict.change.estimate == pytest.approx(change, abs=0.01)
    assert verdict.status not in gate.failing


@pytest.mark.parametrize(
    "settings", [INFORMING, judging(INFORMING, is_judged=False), judging(INFORMING, versus="HEAD")]
)
def test_an_informing_cell_informs_in_every_kind_of_run(settings: Settings) -> None:
    """Also side by side with a commit that may not know the cell: one process of the working tree shows its level."""
    gate = make_gate([API_1, MODEL_8], None, settings)
    gate.reference = settings.judging.versus
    model = CountingTarget("model")
    verdict = measure(gate, model, MODEL_8).verdict
    assert verdict.status is Status.INFORMS
    assert verdict.now_per_s == pytest.approx(100.0)
    assert model.started == (1 if settings.judging.versus else settings.measuring.processes)


def test_a_wrong_answer_fails_an_informing_cell() -> None:
    gate = make_gate([MODEL_8], None, INFORMING)
    verdict = measure(gate, CountingTarget("model", lambda: make_sample(failures=["a dog"])), MODEL_8).verdict
    assert verdict.status is Status.INVALID
    assert verdict.status in gate.failing


def test_a_client_at_its_ceiling_fails_no_informing_cell() -> None:
    gate = make_gate([MODEL_8], None, INFORMING)
    busy = CountingTarget("model", lambda: make_sample(client_cores=[0.2, 0.99]))
    verdict = measure(gate, busy, MODEL_8).verdict
    assert verdict.status is Status.INFORMS
    assert "a client process used 0.99 of its one core" in verdict.reason
    assert verdict.now_per_s is None


def test_informing_cells_take_nothing_of_the_error_level() -> None:
    gate = make_gate([API_1, API_8, MODEL_8], baseline(API_1), INFORMING)
    gate.selection.targets = [CountingTarget("api"), CountingTarget("model")]
    assert (gate.selection.policy.groups, gate.selection.policy.cells) == (1, 2)


@pytest.mark.parametrize(
    ("status", "fails", "fails_strict"),
    [
        (Status.PASS, False, False),
        (Status.IMPROVED, False, False),
        (Status.NOT_JUDGED, False, False),
        (Status.INFORMS, False, False),
        (Status.ALLOWED, False, False),
        (Status.INCONCLUSIVE, False, True),
        (Status.NO_BASELINE, False, True),
        (Status.REGRESSED, True, True),
        (Status.SLOW, True, True),
        (Status.INVALID, True, True),
        (Status.BASE_FAILED, True, True),
    ],
)
def test_which_verdicts_fail_a_test(status: Status, fails: bool, fails_strict: bool) -> None:
    """Doubt fails only where it was asked to."""
    assert (status in make_gate([]).failing) is fails
    assert (status in make_gate([], settings=judging(is_strict=True)).failing) is fails_strict


def test_every_status_is_in_the_table_above() -> None:
    assert len(Status) == 11


def test_a_failed_cell_says_in_one_line_which_what_and_why() -> None:
    error = CellFailedError(API_8, Verdict(Status.REGRESSED, "throughput -50.0%"))
    assert str(error) == "api[concurrency=8] REGRESSED: throughput -50.0%"
    assert isinstance(error, AssertionError)


def test_an_error_while_measuring_one_cell_leaves_no_half_measured_group() -> None:
    samples = iter([make_sample(), make_sample()])

    def lost_after_the_first_process() -> Sample:
        for sample in samples:
            return sample
        raise MeasurementError("GPU is lost")

    gate = make_gate([API_1, API_8], baseline(API_1, API_8))
    api = CountingTarget("api", lost_after_the_first_process)
    with pytest.raises(MeasurementError, match="GPU is lost"):
        measure(gate, api, API_1)
    assert (api.started, gate.results.cells) == (2, {})

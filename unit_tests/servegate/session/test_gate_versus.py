"""What the stored baseline can't clear is compared side by side with its commit before anybody is accused."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import ProcessError, ServegateError
from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.figures.kinds import START, GroupFigure
from servegate.judging.slow_answers import find_slow_share
from servegate.load.engines import LoadEngine
from servegate.measure.targets import Conditions, PausableTarget
from servegate.records import BurstRecord, Cell, Checkout, ProcessRecord, Sample, Status, Verdict
from servegate.session.gate import Gate
from servegate.session.selection import Selection
from servegate.storage.baselines import Baseline
from servegate.storage.commits import identify
from unit_tests.builders.folders import Tree, read_tree
from unit_tests.builders.gate_settings import API_1, API_8, SETTINGS, judging
from unit_tests.builders.runs.samples import STORED, make_sample
from unit_tests.builders.targets import FakeTarget, no_session_server


class Service(FakeTarget):
    """A target whose throughput is given for the screen and for each checkout, and what happened to it."""

    def __init__(
        self,
        screened_per_s: Mapping[Cell, float],
        side_by_side_per_s: Mapping[str, float] | None = None,
        error: ServegateError | None = None,
        failing: str = "base",
    ) -> None:
        super().__init__()
        self.screened_per_s = screened_per_s
        self.side_by_side_per_s = side_by_side_per_s or {}
        self.rounds_s: tuple[float, ...] = ()
        self.latencies_ms: Mapping[str, tuple[float, ...]] = {}
        self.wrong_arm = ""
        self.start_s: Mapping[str, float] = {}
        self.events: list[str] = []
        self.engines: set[LoadEngine] = set()
        self.folders: dict[str, Path] = {}
        self.files: dict[str, Tree] = {}
        self._error = error
        self._failing = failing

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator["_Process"]:
        conditions.session_server("server")
        self.events.append("screened")
        yield _Process(self, None)

    @contextmanager
    def launch(self, checkout: Checkout) -> Iterator["_Process"]:
        if self._error is not None and checkout.name == self._failing:
            raise self._error
        self.events.append(f"compared {checkout.name}")
        self.folders[checkout.name] = checkout.folder
        self.files[checkout.name] = read_tree(checkout.folder)
        yield _Process(self, checkout.name)


@dataclass
class SessionServer:
    """A server of the session."""

    events: list[str]

    def start(self) -> None:
        """Started afresh."""

    def stop(self) -> None:
        self.events.append("released")


@dataclass
class _Process:
    service: Service
    arm: str | None
    details: Mapping[str, str] = field(default_factory=dict)
    is_python: bool = False

    @property
    def record(self) -> ProcessRecord:
        return ProcessRecord(self.service.start_s.get(self.arm or ""), None)

    def wait_until_ready(self) -> None:
        """At once."""

    def ask_to_end(self) -> None:
        """Nothing runs."""

    def open(self, engine: LoadEngine, /) -> "_Process":
        self.service.engines.add(engine)
        return self

    def measure(self, cell: Cell, seconds: float) -> Sample:
        return make_sample(self.service.screened_per_s[cell])

    def adapt_to(self, other: PausableTarget) -> "_Process":
        return self

    def measure_rate(self, cell: Cell) -> None:
        """None: no load sets its rate."""

    def start_load(self, cell: Cell, rate_per_s: float | None = None) -> "_Load":
        assert self.arm is not None
        throughput_per_s = self.service.side_by_side_per_s[self.arm] * (1 + 0.001 * len(self.service.events))
        failures = ("a dog",) if self.arm == self.service.wrong_arm else ()
        return _Load(throughput_per_s, self.service.rounds_s, failures, self.service.latencies_ms.get(self.arm, ()))


@dataclass
class _Load:
    throughput_per_s: float
    rounds_s: tuple[float, ...] = ()
    failures: tuple[str, ...] = ()
    latencies_ms: tuple[float, ...] = ()
    shortest_burst_s: float = 0.0
    shortest_turn_s: float = 0.0
    takes_turns: bool = False
    bursts: int = 0

    def turn(self, seconds: float) -> None:
        """None are taken."""

    def burst(self, seconds: float) -> None:
        self.bursts += 1

    def finish(self) -> BurstRecord:
        seconds = (100 / self.throughput_per_s,) * self.bursts
        sample = replace(make_sample(self.throughput_per_s, failures=self.failures), latencies_ms=self.latencies_ms)
        if self.rounds_s:
            sample = replace(sample, rounds_s=self.rounds_s)
        return BurstRecord((100,) * self.bursts, seconds, sample)


def run(
    service: Service,
    root: Path,
    versus: str | None = None,
    *,
    lost_commit: bool = False,
    accepted: str | None = None,
    has_figures: bool = True,
) -> dict[Cell, Verdict]:
    """Measure and judge the group; the baseline is the commit of `root`.

    Parameters
    ----------
    accepted:
        The commit that was accepted last, on another class of machine.
    has_figures:
        Whether this class has stored ones.
    """
    checkout = identify(root, "service", "requirements.lock")
    if lost_commit:
        checkout = replace(checkout, commit="0" * 40, service_tree="1" * 40)
    stored: Baseline | None = None
    if has_figures:
        stored = Baseline(Path("baseline.json"), {str(API_1): STORED, str(API_8): STORED}, checkout, {})
    settings = judging(replace(SETTINGS, root=root), versus=versus, confirm=True)
    gate = Gate(
        Selection(settings, [service], [API_1, API_8]), stored, progress=lambda _: None, reference=versus or accepted
    )
    server: Any = SessionServer(service.events)
    return {cell: gate.measure(service, cell, lambda _: server).verdict for cell in (API_1, API_8)}


def test_a_screen_that_clears_every_cell_starts_no_other_checkout(project: Path) -> None:
    service = Service({API_1: 100.0, API_8: 100.0})
    assert {verdict.status for verdict in run(service, project).values()} == {Status.PASS}
    assert service.events == ["screened", "screened"]


def test_a_machine_that_is_slower_today_accuses_nobody(project: Path) -> None:
    service = Service({API_1: 100.0, API_8: 50.0}, {"base": 50.0, "head": 50.0})
    verdicts = run(service, project)
    assert {verdict.status for verdict in verdicts.values()} == {Status.PASS}
    assert verdicts[API_8].reason.endswith("the machine is slower today than when the baseline was stored")
    assert verdicts[API_1].reason.startswith("throughput +0.")


def test_a_slowdown_is_confirmed_against_the_files_of_the_baselines_commit(project: Path) -> None:
    service = Service({API_1: 100.0, API_8: 50.0}, {"base": 100.0, "head": 50.0})
    verdict = run(service, project)[API_8]
    assert verdict.status is Status.REGRESSED
    assert "side by side" in verdict.reason
    assert "drift" not in verdict.reason
    versions = {name: files["service/version.txt"].content for name, files in service.files.items()}
    assert versions == {"base": b"1", "head": b"2"}
    assert service.folders["head"].parent == service.folders["base"].parent
    assert not service.folders["base"].exists()


def test_the_groups_shared_process_is_ended_before_the_arms_start(project: Path) -> None:
    service = Service({API_1: 100.0, API_8: 50.0}, {"base": 50.0, "head": 50.0})
    run(service, project)
    assert service.events[:3] == ["screened", "screened", "released"]
    assert {event.split()[0] for event in service.events[3:]} == {"compared"}


@pytest.mark.parametrize(
    ("service", "lost_commit", "why"),
    [
        (Service({API_1: 100.0, API_8: 50.0}), True, "the baseline's commit 000000000000 is not here"),
        (Service({API_1: 100.0, API_8: 50.0}, error=ProcessError("it does not boot")), False, "it does not boot"),
    ],
)
def test_without_a_base_the_stored_baseline_decides_alone_and_says_why(
    project: Path, service: Service, lost_commit: bool, why: str
) -> None:
    verdict = run(service, project, lost_commit=lost_commit)[API_8]
    assert verdict.status is Status.REGRESSED
    assert verdict.reason.endswith("by the stored baseline alone, drift not excluded")
    assert verdict.evidence[-1].startswith("not confirmed side by side: ")
    assert why in verdict.evidence[-1]


def test_versus_compares_every_cell_without_a_screen(project: Path) -> None:
    service = Service({}, {"base": 100.0, "head": 50.0})
    verdicts = run(service, project, versus="HEAD")
    assert {verdict.status for verdict in verdicts.values()} == {Status.REGRESSED}
    assert "screened" not in service.events
    assert verdicts[API_1].now_per_s == pytest.approx(50.0, rel=0.05)
    assert verdicts[API_1].baseline_per_s == pytest.approx(100.0, rel=0.05)


def test_a_regression_by_slowing_down_halfway_says_so_side_by_side(project: Path) -> None:
    service = Service({}, {"base": 100.0, "head": 50.0})
    service.rounds_s = (1.0,) * 6 + (3.0,) * 6
    verdict = run(service, project, versus="HEAD")[API_8]
    assert verdict.status is Status.REGRESSED
    assert "; every process slows down as it runs: the last third" in verdict.reason


def test_an_accepted_commit_that_does_not_start_is_no_baseline_and_the_working_tree_is_measured(project: Path) -> None:
    """Nobody named it, so that it fails is nobody's fault; what the working tree answers is checked all the same."""
    service = Service({API_1: 100.0, API_8: 50.0}, error=ProcessError("it does not boot"))
    verdicts = run(service, project, accepted="HEAD", has_figures=False)
    assert {verdict.status for verdict in verdicts.values()} == {Status.NO_BASELINE}
    assert "the base can't be measured: it does not boot" in verdicts[API_8].reason
    assert verdicts[API_8].now_per_s == pytest.approx(50.0)
    assert service.events.count("screened") == SETTINGS.measuring.processes


@pytest.mark.parametrize(("versus", "status"), [("HEAD", Status.BASE_FAILED), (None, Status.NO_BASELINE)])
def test_a_base_that_answers_wrongly_fails_a_run_that_named_it(
    project: Path, versus: str | None, status: Status
) -> None:
    service = Service({}, {"base": 100.0, "head": 100.0})
    service.wrong_arm = "base"
    verdicts = run(service, project, versus=versus, accepted="HEAD")
    assert {verdict.status for verdict in verdicts.values()} == {status}
    assert "the base can't serve this cell" in verdicts[API_1].reason


@pytest.mark.parametrize("versus", [None, "HEAD"])
def test_what_no_one_foresaw_ends_the_comparison_once_for_all_cells(project: Path, versus: str | None) -> None:
    """It would come again; what the screen said, and could not be confirmed, is nobody's verdict."""
    service = Service({API_1: 100.0, API_8: 50.0}, {"base": 100.0})  # the head's throughput is a KeyError
    settings = judging(replace(SETTINGS, root=project), versus=versus, confirm=True)
    checkout = identify(project, "service", "requirements.lock")
    stored = Baseline(Path("baseline.json"), {str(API_1): STORED, str(API_8): STORED}, checkout, {})
    gate = Gate(Selection(settings, [service], [API_1, API_8]), stored, progress=lambda _: None, reference=versus)
    server: Any = SessionServer(service.events)
    for cell in (API_1, API_8):
        with pytest.raises(KeyError, match="head"):
            gate.measure(service, cell, lambda _: server)
    assert service.events.count("compared head") == 1


def test_a_head_that_does_not_start_is_not_excused_by_the_stored_baseline(project: Path) -> None:
    service = Service({API_1: 100.0, API_8: 50.0}, error=ProcessError("it does not boot"), failing="head")
    with pytest.raises(ProcessError, match="it does not boot"):
        run(service, project)


def test_a_comparison_that_was_asked_for_and_did_not_happen_fails(project: Path) -> None:
    service = Service({}, {"base": 100.0, "head": 50.0}, error=ProcessError("No module named service.model_worker"))
    verdicts = run(service, project, versus="HEAD")
    assert {verdict.status for verdict in verdicts.values()} == {Status.BASE_FAILED}
    assert "the base can't be measured: No module named service.model_worker" in verdicts[API_1].reason


def test_versus_a_base_that_misses_an_ignored_file_the_reason_names_the_option(project: Path) -> None:
    error = ProcessError("FileNotFoundError: [Errno 2] No such file or directory: 'weights.npz'")
    verdict = run(Service({}, error=error), project, versus="HEAD")[API_1]
    assert verdict.status is Status.BASE_FAILED
    assert "perf_carry = " in verdict.reason


def test_what_perf_carry_names_is_in_both_arms(project: Path) -> None:
    (project / ".gitignore").write_text("weights.npz\n")
    (project / "weights.npz").write_text("weights")
    service = Service({}, {"base": 100.0, "head": 50.0})
    carried = replace(SETTINGS.project, carried=("weights.npz",))
    settings = judging(replace(SETTINGS, root=project, project=carried), versus="HEAD")
    gate = Gate(Selection(settings, [service], [API_1]), None, progress=lambda _: None, reference="HEAD")
    gate.measure(service, API_1, no_session_server)
    assert [files["weights.npz"].content for files in service.files.values()] == [b"weights", b"weights"]


def test_both_arms_are_loaded_by_as_many_client_processes_as_the_run_is_set_to(project: Path) -> None:
    """By the built-in client, also where Locust loads the working tree alone."""
    service = Service({}, {"base": 100.0, "head": 50.0})
    measuring = replace(SETTINGS.measuring, engine=LoadEngine("locust", workers=2, processes=3))
    settings = judging(replace(SETTINGS, root=project, measuring=measuring), versus="HEAD")
    gate = Gate(Selection(settings, [service], [API_1]), None, progress=lambda _: None, reference="HEAD")
    gate.measure(service, API_1, no_session_server)
    assert service.engines == {LoadEngine(processes=3)}


@pytest.mark.parametrize(
    ("limits", "slow_ms", "shares"),
    [(LatencyLimits(), 310.1, (0.0, 0.02)), (LatencyLimits({"": 250.0}), 250.0, (0.01, 0.03))],
    ids=["common", "the user's"],
)
def test_a_comparison_finds_the_slow_answers_of_both_arms(
    project: Path, limits: LatencyLimits, slow_ms: float, shares: tuple[float, float]
) -> None:
    """Of 100 answers of an arm in each pair; those of all pairs count together."""
    service = Service({}, {"base": 100.0, "head": 100.0})
    service.latencies_ms = {"base": (10.0,) * 99 + (300.0,), "head": (10.0,) * 97 + (310.0, 320.0, 330.0)}
    settings = judging(replace(SETTINGS, root=project), versus="HEAD", latency_limits=limits)
    gate = Gate(Selection(settings, [service], [API_1]), None, progress=lambda _: None, reference="HEAD")
    result = gate.measure(service, API_1, no_session_server)
    assert result.slow_ms == pytest.approx(slow_ms)
    assert find_slow_share(result.bases, result.slow_ms) == shares[0]
    assert find_slow_share(result.samples, result.slow_ms) == shares[1]


def test_the_time_budget_bounds_the_whole_run_and_not_each_target(project: Path) -> None:
    """What is compared when the time is over is doubted and not accused; the screen's figures are shown."""
    slow = Service({API_1: 100.0, API_8: 50.0}, {"base": 100.0, "head": 50.0})
    settings = judging(replace(SETTINGS, root=project), confirm=True, budget_s=0.0)
    stored = Baseline(
        Path("baseline.json"),
        {str(API_1): STORED, str(API_8): STORED},
        identify(project, "service", "requirements.lock"),
        {},
    )
    gate = Gate(Selection(settings, [slow], [API_1, API_8]), stored, progress=lambda _: None)
    server: Any = SessionServer(slow.events)
    result = gate.measure(slow, API_8, lambda _: server)
    assert result.verdict.status is Status.INCONCLUSIVE
    assert "the run's time budget had ended" in result.verdict.reason
    assert len(result.samples) == settings.measuring.processes
    assert not any(event.startswith("compared") for event in slow.events)


@pytest.mark.parametrize(("head_s", "status"), [(6.0, Status.PASS), (9.0, Status.REGRESSED)])
def test_a_figure_is_judged_beside_throughput_and_keeps_the_run_going_alone(
    project: Path, head_s: float, status: Status
) -> None:
    """Throughput is decided at the first look; from then on the processes only start."""
    service = Service({}, {"base": 100.0, "head": 100.0})
    service.figures, service.start_s = (START,), {"base": 6.0, "head": head_s}
    gate = Gate(
        Selection(
            judging(replace(SETTINGS, root=project), versus="HEAD"),
            [service],
            [API_1, API_8],
            [GroupFigure("api", START)],
        ),
        None,
        progress=lambda _: None,
        reference="HEAD",
    )
    server: Any = SessionServer(service.events)
    figure = GroupFigure("api", START)
    assert gate.judge(service, figure, lambda _: server).verdict.status is status
    assert gate.measure(service, API_1, lambda _: server).verdict.status is Status.PASS
    assert len(gate.results.cells[API_1].pairs) == 3
    assert service.events.count("compared head") == (3 if status is Status.PASS else 8)
    assert ("takes 50 % longer to start" in gate.sentence) is (status is Status.REGRESSED)


def test_without_a_comparison_a_figure_has_no_verdict(project: Path) -> None:
    """As where the base has no service: its cells say so."""
    service = Service({})
    service.figures = (START,)
    elsewhere = replace(SETTINGS.project, service="nowhere")
    settings = judging(replace(SETTINGS, root=project, project=elsewhere), versus="HEAD")
    gate = Gate(Selection(settings, [service], [API_1]), None, progress=lambda _: None, reference="HEAD")
    server: Any = SessionServer(service.events)
    assert gate.judge(service, GroupFigure("api", START), lambda _: server).verdict.status is Status.NOT_JUDGED


def make_gate_of(service: Service, root: Path, figures: Sequence[GroupFigure]) -> Gate:
    return Gate(
        Selection(judging(replace(SETTINGS, root=root), versus="HEAD"), [service], [API_1], figures),
        None,
        progress=lambda _: None,
        reference="HEAD",
    )


def test_a_figure_whose_test_was_not_collected_is_not_judged(project: Path) -> None:
    """Nothing could fail for it, and no run goes on for it."""
    service = Service({}, {"base": 100.0, "head": 100.0})
    service.figures, service.start_s = (START,), {"base": 6.0, "head": 9.0}
    gate = make_gate_of(service, project, ())
    server: Any = SessionServer(service.events)
    gate.measure(service, API_1, lambda _: server)
    assert gate.results.figures == {}
    assert service.events.count("compared head") == 3


@pytest.mark.parametrize(
    ("error", "wrong_arm", "status"),
    [
        (ProcessError("it does not start"), "", Status.BASE_FAILED),
        (None, "head", Status.INVALID),
    ],
)
def test_a_figure_of_a_group_that_fails_fails_with_it(
    project: Path, error: ServegateError | None, wrong_arm: str, status: Status
) -> None:
    """Its test may be the only one that was collected."""
    service = Service({}, {"base": 100.0, "head": 100.0}, error=error)
    service.figures, service.wrong_arm = (START,), wrong_arm
    figure = GroupFigure("api", START)
    gate = make_gate_of(service, project, [figure])
    server: Any = SessionServer(service.events)
    verdict = gate.judge(service, figure, lambda _: server).verdict
    assert verdict.status is status
    assert verdict.reason.startswith(f"api[concurrency=1] {status}: ")

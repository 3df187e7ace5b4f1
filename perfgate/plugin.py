"""pytest hooks of perfgate; composes the other modules."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
from pluggy import Result

from perfgate.baselines import Baseline, baseline_path, read_baseline, write_baseline
from perfgate.checkout import identify, require_clean, resolve_commit
from perfgate.errors import BaselineError, NoBaselineError, PerfgateError, SettingsError
from perfgate.gate import CellFailedError, Gate
from perfgate.group import Group
from perfgate.machine import read_fingerprint
from perfgate.options import add_options
from perfgate.records import Cell, Fingerprint
from perfgate.replay import replay, replayed_clock
from perfgate.report.figures import benchmark_figures
from perfgate.report.terminal import Progress, write_summary
from perfgate.settings import GateSettings
from perfgate.usage import check_usage, performance_paths

_MARKER = "perf_cell"
_SETTINGS = pytest.StashKey[GateSettings]()
_GATE = pytest.StashKey["_Run"]()
_CELL = pytest.StashKey[Cell]()


class _Run:
    """A run that measures: the gate, the machine, and what is said about the baseline."""

    def __init__(self, config: pytest.Config, settings: GateSettings) -> None:
        self.settings = settings
        self.fingerprint = read_fingerprint(settings.packages, settings.measuring)
        self.notes: list[str] = []
        self.gate = Gate(settings, self._find_baseline(), Progress(config))

    def _find_baseline(self) -> Baseline | None:
        if self.settings.accept:
            require_clean(self.settings.root, self.settings.baselines)
            identify(self.settings.root, self.settings.service, self.settings.lock)
        if self.settings.versus is not None:
            resolve_commit(self.settings.root, self.settings.versus)  # a wrong name is told before anything is measured
            return None
        if not self.settings.judged:
            return None
        try:
            return read_baseline(self.settings.baselines, self.fingerprint.machine_class)
        except NoBaselineError as error:
            self.notes.append(f"NO_BASELINE: {error}")
            self.notes.append("accept one on this machine with: make accept  (pytest perf_tests --perf-accept)")
            return None

    @property
    def complete_fingerprint(self) -> Fingerprint:
        """With what the measured processes said of themselves."""
        return replace(self.fingerprint, details={**self.fingerprint.details, **self.gate.details})


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark reads its options
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_MARKER}(group, parameter): the test reports one cell for each value of the parameter"
    )
    if hasattr(config, "workerinput"):
        return  # an xdist worker: the process that started it has checked the command line
    try:
        settings = GateSettings.from_pytest_config(config)
        check_usage(config, settings)
        config.stash[_SETTINGS] = settings
        if performance_paths(config, settings):
            # One voice: stock comparison would judge by its own rule, and its table repeats ours.
            config.option.benchmark_compare = None
            config.option.benchmark_quiet = not config.option.benchmark_verbose
            config.stash[_GATE] = _Run(config, settings)
    except PerfgateError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    run = config.stash.get(_GATE, None)
    if run is None:
        return []
    machine = f"perfgate: machine class {run.fingerprint.machine_class}"
    baseline = run.gate.baseline
    return [run.settings.describe(), machine, *([f"perfgate: baseline {baseline.path}"] if baseline else run.notes)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker(_MARKER)
    settings = metafunc.config.stash.get(_SETTINGS, None)
    if marker is None or settings is None:
        return
    group, parameter = marker.kwargs["group"], marker.kwargs["parameter"]
    if group not in settings.cells:
        raise pytest.UsageError(f"perf_cells in pytest.ini has no values for the group {group!r}")
    metafunc.parametrize(parameter, settings.cells[group])


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell that a test reports; None if it is no performance test."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None or not isinstance(item, pytest.Function):
        return None
    group, parameter = marker.kwargs["group"], marker.kwargs["parameter"]
    return Cell(group, parameter, int(str(item.callspec.params[parameter])))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        cell = cell_of(item)
        if cell is None:
            continue
        item.stash[_CELL] = cell
        item.add_marker(pytest.mark.benchmark(timer=replayed_clock, group=cell.group))
        # A cell without a figure, as after a wrong answer, has nothing to hand to pytest-benchmark.
        item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))
    if _GATE in config.stash:
        # Groups in the order of perf_cells: the model is measured before a server runs beside it.
        groups = list(config.stash[_SETTINGS].cells)
        items.sort(key=lambda item: groups.index(item.stash[_CELL].group) if _CELL in item.stash else -1)


def pytest_collection_finish(session: pytest.Session) -> None:
    run = session.config.stash.get(_GATE, None)
    if run is not None:
        run.gate.selected = [item.stash[_CELL] for item in session.items if _CELL in item.stash]


class CellGate:
    """What the `gate` fixture hands to a test."""

    def __init__(self, gate: Gate, cell: Cell, benchmark: Any) -> None:
        self._gate = gate
        self._cell = cell
        self._benchmark = benchmark

    def check(self, group: Group) -> None:
        """Report the test's cell; the first test of a group has all its cells measured and judged.

        Raises
        ------
        CellFailedError
            When the verdict fails the test.
        PerfgateError
            When measuring failed.
        """
        # Until it has its rounds, so that pytest-benchmark doesn't complain of it when Ctrl-C ends the measuring.
        self._benchmark.skipped = True
        result = self._gate.result(group, self._cell)
        self._benchmark.extra_info.update(benchmark_figures(result))
        if any(sample.rounds_s for sample in result.samples):
            replay(self._benchmark, [seconds for sample in result.samples for seconds in sample.rounds_s])
        if self._gate.fails(result.verdict):
            raise CellFailedError(self._cell, result.verdict)


@pytest.fixture
def gate(request: pytest.FixtureRequest, benchmark: Any) -> CellGate:
    """Measures and judges the cell of a test that is marked `perf_cell`."""
    run = request.config.stash.get(_GATE, None)
    if run is None:
        raise pytest.UsageError(
            f"{request.node.nodeid} is a performance test, but none of perf_paths stands on the command line"
        )
    if _CELL not in request.node.stash:
        raise pytest.UsageError(f"{request.node.nodeid} uses the fixture 'gate' but has no marker {_MARKER!r}")
    return CellGate(run.gate, request.node.stash[_CELL], benchmark)


@pytest.fixture(scope="session")
def gate_settings(request: pytest.FixtureRequest) -> GateSettings:
    """The run's settings, for fixtures that prepare measurements."""
    return request.config.stash[_SETTINGS]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, Result[pytest.TestReport], None]:
    outcome = yield
    if call.excinfo is None:
        return
    error, report = call.excinfo.value, outcome.get_result()
    if isinstance(error, CellFailedError):
        report.longrepr = str(error)
        if error.verdict.evidence:
            report.sections.append((f"evidence for {error.cell}", "\n".join(error.verdict.evidence)))
    elif isinstance(error, PerfgateError):
        report.longrepr = str(error)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash.get(_GATE, None)
    if run is None or not run.settings.accept or not run.gate.results:
        return
    if exitstatus != pytest.ExitCode.OK:
        run.notes.append("not accepted: only a run in which every test passes becomes a baseline")
        return
    try:
        run.notes.append(f"accepted: {_accept(session.config, run)}; commit it to keep it")
    except PerfgateError as error:
        run.notes.append(f"not accepted: {error}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(_GATE, None)
    if run is None or not run.gate.results:
        return
    results = list(run.gate.results.values())
    write_summary(terminalreporter, results, run.gate.baseline, run.complete_fingerprint.details)
    for note in run.notes:
        terminalreporter.write_line(note)
    if not (run.settings.judged or run.settings.accept):
        terminalreporter.write_line("not judged: compare with the baseline with --benchmark-compare")


def _accept(config: pytest.Config, run: _Run) -> str:
    settings = run.settings
    require_clean(settings.root, settings.baselines)
    path = baseline_path(settings.baselines, run.fingerprint.machine_class)
    lost = _stored_cells(run) - {str(cell) for cell in run.gate.results}
    if lost:
        raise SettingsError(
            f"the stored baseline has cells that this run did not measure: {', '.join(sorted(lost))}; "
            f"measure all, or remove {path} first"
        )
    session: Any = config.pluginmanager.get_plugin("pytest-benchmark")
    machine_info = session.get_machine_info()
    machine_info.pop("node", None)  # a host's name is nobody's business
    machine_info["perfgate"] = vars(run.complete_fingerprint)
    document = config.hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=session.benchmarks,
        include_data=True,
        machine_info=machine_info,
        commit_info=config.hook.pytest_benchmark_generate_commit_info(config=config),
    )
    checkout = identify(settings.root, settings.service, settings.lock)
    return str(write_baseline(settings.baselines, run.complete_fingerprint, checkout, document))


def _stored_cells(run: _Run) -> set[str]:
    try:
        return set(read_baseline(run.settings.baselines, run.fingerprint.machine_class).throughput_per_s)
    except BaselineError:
        return set()  # none, or one that can't be used and is replaced, as its message advises

"""pytest hooks of servegate; composes the other modules."""

from collections.abc import Generator
from typing import Any

import pytest
from pluggy import Result

from servegate.errors import ServegateError
from servegate.measure.targets import Group
from servegate.records import Cell
from servegate.report.figures import benchmark_figures
from servegate.report.terminal import write_summary
from servegate.session.command_line import check_usage, performance_paths
from servegate.session.gate import CellFailedError, Gate
from servegate.session.options import add_options
from servegate.session.replay import replay, replayed_clock
from servegate.session.run import Run
from servegate.session.settings import GateSettings

_MARKER = "perf_cell"
_SETTINGS = pytest.StashKey[GateSettings]()
_GATE = pytest.StashKey[Run]()
_CELL = pytest.StashKey[Cell]()


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
            config.stash[_GATE] = Run(config, settings)
    except ServegateError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    run = config.stash.get(_GATE, None)
    if run is None:
        return []
    machine = f"servegate: machine class {run.fingerprint.machine_class}"
    baseline = run.gate.baseline
    return [run.settings.describe(), machine, *([f"servegate: baseline {baseline.path}"] if baseline else run.notes)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker(_MARKER)
    settings = metafunc.config.stash.get(_SETTINGS, None)
    if marker is None or settings is None:
        return
    if set(marker.kwargs) != {"group", "parameter"} or marker.args:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: write pytest.mark.{_MARKER}(group=..., parameter=...), as in "
            "group='api', parameter='concurrency'"
        )
    group, parameter = marker.kwargs["group"], marker.kwargs["parameter"]
    if parameter not in metafunc.fixturenames:
        raise pytest.UsageError(f"{metafunc.definition.nodeid} takes no {parameter!r}, which its {_MARKER} names")
    if group not in settings.cells:
        raise pytest.UsageError(f"perf_cells in pytest.ini has no values for the group {group!r}")
    metafunc.parametrize(parameter, settings.cells[group])


def get_cell(item: pytest.Item) -> Cell | None:
    """The cell that a test reports; None if it is no performance test."""
    marker = item.get_closest_marker(_MARKER)
    if marker is None or not isinstance(item, pytest.Function):
        return None
    group, parameter = marker.kwargs["group"], marker.kwargs["parameter"]
    return Cell(group, parameter, int(str(item.callspec.params[parameter])))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        cell = get_cell(item)
        if cell is None:
            continue
        item.stash[_CELL] = cell
        item.add_marker(pytest.mark.benchmark(timer=replayed_clock, group=cell.group))
        # A cell without a figure, as after a wrong answer, has nothing to hand to pytest-benchmark.
        item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))
    if _GATE in config.stash:
        _select(config, items)
        # Groups in the order of perf_cells: the model is measured before a server runs beside it.
        groups = list(config.stash[_SETTINGS].cells)
        items.sort(key=lambda item: groups.index(item.stash[_CELL].group) if _CELL in item.stash else -1)


def _select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the groups that this run doesn't measure."""
    groups = config.stash[_SETTINGS].selected_groups
    if groups is None:
        return
    left_out = [item for item in items if _CELL in item.stash and item.stash[_CELL].group not in groups]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
        ServegateError
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
    elif isinstance(error, ServegateError):
        report.longrepr = str(error)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash.get(_GATE, None)
    if run is not None:
        session.exitstatus = run.finish(exitstatus)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(_GATE, None)
    if run is None or not run.gate.results:
        return
    results = list(run.gate.results.values())
    details, versus = run.complete_fingerprint.details, run.settings.versus
    write_summary(terminalreporter, results, run.gate.baseline, details, versus)
    for note in run.notes:
        terminalreporter.write_line(note)
    if not (run.settings.judged or run.settings.accept):
        terminalreporter.write_line("not judged: compare with the baseline with --benchmark-compare")

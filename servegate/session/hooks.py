"""The hooks of a run that measures: registered by the plugin when performance tests stand on the command line."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest
from pluggy import Result

from servegate.errors import MachineInUseError, ServegateError
from servegate.judging.figures.kinds import GroupFigure
from servegate.measure.targets import MeasurementTarget
from servegate.options.command_line import check_command_line
from servegate.options.performance_paths import performance_paths, runs_in_parallel
from servegate.options.read_settings import read_settings
from servegate.options.settings import Settings
from servegate.records import Cell, Verdict
from servegate.report.figures import benchmark_figures, list_figure_properties, list_properties
from servegate.report.terminal import Progress, write_summary
from servegate.session.gate import CellFailedError
from servegate.session.replayed_clock import replay, replayed_clock
from servegate.session.session import GateSession

MARKER = "perf_target"
FIXTURE = "perf_cell"
NAME = "servegate session"
_CELL = pytest.StashKey[Cell | GroupFigure]()


def start_session(config: pytest.Config) -> None:
    """Check the command line, and have a run with performance tests measure.

    Raises
    ------
    ServegateError
        For a wrong setting, or when what the run is to be compared with isn't there.
    """
    settings = read_settings(config)
    check_command_line(config, settings)
    if performance_paths(config) and not runs_in_parallel(config):
        # Disable pytest-benchmark's own comparison and table; only the gate judges.
        config.option.benchmark_compare = None
        config.option.benchmark_quiet = not config.option.benchmark_verbose
        config.pluginmanager.register(SessionHooks(config, settings), NAME)


class SessionHooks:
    """pytest's hooks around one `GateSession`.

    Attributes
    ----------
    session:
        The run.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.session = GateSession(config, settings, Progress(config))
        self._settings = settings
        self._targets: dict[str, MeasurementTarget] = {}
        # By name: a test's parameter is the name alone, since pytest-benchmark stores it as JSON.
        self._cells: dict[str, Cell | GroupFigure] = {}
        self._failed: list[tuple[pytest.TestReport, CellFailedError]] = []

    def pytest_report_header(self) -> list[str]:
        """Say what the run does, where, and compared with what."""
        session = self.session
        machine = f"servegate: machine class {session.fingerprint.machine_class}"
        baseline = session.gate.baseline
        return [
            self._settings.describe(),
            machine,
            *([f"servegate: baseline {baseline.path}"] if baseline else session.notes),
        ]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise a test of targets over their cells, and in a comparison over their groups' figures."""
        marker = metafunc.definition.get_closest_marker(MARKER)
        if marker is None:
            return
        where, targets = metafunc.definition.nodeid, marker.args
        if not targets or marker.kwargs or FIXTURE not in metafunc.fixturenames:
            pytest.fail(
                f"{where}: write @pytest.mark.{MARKER}(target) above a test that takes {FIXTURE!r}; "
                "a target is made with servegate.api, as in HttpTarget('api', ...)",
                pytrace=False,
            )
        cells = [cell for target in targets for cell in self._register(target, where)]
        short = [str(cell.value) if isinstance(cell, Cell) else cell.kind.name for cell in cells]
        ids = short if len(targets) == 1 else [f"{cell.group}-{name}" for cell, name in zip(cells, short, strict=True)]
        metafunc.parametrize(FIXTURE, [str(cell) for cell in cells], indirect=True, ids=ids)

    def _register(self, target: MeasurementTarget, where: str) -> list[Cell | GroupFigure]:
        if not hasattr(target, "launch"):
            pytest.fail(f"{where}: {MARKER} takes targets of servegate.api, not {target!r}", pytrace=False)
        if target.name not in self._settings.cells:
            pytest.fail(
                f"{where}: perf_cells in the ini file has no values for the group {target.name!r}, "
                f"as in: perf_cells = {target.name}=1,8",
                pytrace=False,
            )
        if self._targets.setdefault(target.name, target) != target:
            pytest.fail(f"{where}: there is another target named {target.name!r}; names must differ", pytrace=False)
        for value in self._settings.cells[target.name]:
            wrong = target.explain_wrong_value(value)
            if wrong is not None:
                pytest.fail(f"{where}: perf_cells has {target.name}={value}; a value {wrong}", pytrace=False)
        cells = [Cell(target.name, target.parameter, value) for value in self._settings.cells[target.name]]
        reported: list[Cell | GroupFigure] = [*cells, *self._list_figures(target)]
        self._cells.update({str(cell): cell for cell in reported})
        return reported

    def _list_figures(self, target: MeasurementTarget) -> list[GroupFigure]:
        """The figures of a target's group that this run judges: those of a comparison side by side."""
        if self.session.gate.reference is None or target.name in self._settings.informing:
            return []
        policy = self._settings.judging.figure_policy
        cells = [Cell(target.name, target.parameter, value) for value in self._settings.cells[target.name]]
        return [GroupFigure(target.name, kind) for kind in target.figures if policy.cells_of(kind, cells)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Mark the performance tests for pytest-benchmark, and order them as `perf_cells` has their groups."""
        for item in items:
            if isinstance(item, pytest.Function) and FIXTURE in _parameters(item):
                cell = self._cells[str(_parameters(item)[FIXTURE])]
                item.stash[_CELL] = cell
                item.add_marker(pytest.mark.benchmark(timer=replayed_clock, group=cell.group))
                # A cell without a figure, as after a wrong answer, has nothing to hand to pytest-benchmark.
                item.add_marker(pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"))
        self._deselect_other_groups(config, items)
        # A model is measured before a server runs beside it.
        groups = list(self._settings.cells)
        items.sort(key=lambda item: groups.index(item.stash[_CELL].group) if _CELL in item.stash else -1)

    def _deselect_other_groups(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        groups = self._settings.selected_groups
        if groups is None:
            return
        left_out = [item for item in items if _CELL in item.stash and item.stash[_CELL].group not in groups]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell the gate which cells will be asked for.

        Raises
        ------
        pytest.UsageError
            When two tests report the same cell, or another run measures and this one doesn't wait for it.
        """
        owners: dict[Cell | GroupFigure, str] = {}
        for item in session.items:
            if _CELL in item.stash and owners.setdefault(item.stash[_CELL], item.nodeid) != item.nodeid:
                raise pytest.UsageError(
                    f"{owners[item.stash[_CELL]]} and {item.nodeid} both report {item.stash[_CELL]}; one test is enough"
                )
        groups = dict.fromkeys(cell.group for cell in owners)
        cells = [cell for cell in owners if isinstance(cell, Cell)]
        # A figure is of all cells of its group, also where its test stands alone.
        alone = groups.keys() - {cell.group for cell in cells}
        cells += [cell for cell in self._cells.values() if isinstance(cell, Cell) and cell.group in alone]
        selection = self.session.gate.selection
        selection.cells = cells
        selection.figures = [figure for figure in owners if isinstance(figure, GroupFigure)]
        selection.targets = [self._targets[group] for group in groups]
        if owners and not session.config.option.collectonly:
            try:
                self.session.claim_machine()
            except MachineInUseError as error:
                raise pytest.UsageError(str(error)) from None

    def report_cell(self, request: pytest.FixtureRequest, benchmark: Any) -> "CellReporter":
        """The value of the `perf_cell` fixture.

        Raises
        ------
        pytest.UsageError
            For a test without a target.
        """
        if not hasattr(request, "param"):
            raise pytest.UsageError(f"{request.node.nodeid} takes {FIXTURE!r} but has no marker {MARKER!r}")
        cell = self._cells[request.param]
        return CellReporter(self.session, self._targets[cell.group], cell, request, benchmark)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, Result[pytest.TestReport], None]:
        """Show a verdict or an error of the gate as a sentence with its evidence, without a traceback."""
        outcome = yield
        if call.excinfo is None:
            return
        error, report = call.excinfo.value, outcome.get_result()
        if isinstance(error, CellFailedError):
            self._failed.append((report, error))
            report.longrepr = self._tell_failure(error)
            if error.verdict.evidence:
                report.sections.append((f"evidence for {error.cell}", "\n".join(error.verdict.evidence)))
        elif isinstance(error, ServegateError):
            report.longrepr = str(error)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Store a baseline and write the report; failed tests tell what the whole run has found."""
        session.exitstatus = self.session.finish(exitstatus)
        for report, error in self._failed:
            report.longrepr = self._tell_failure(error)

    def _tell_failure(self, error: CellFailedError) -> str:
        return f"{self.session.gate.sentence}\n{error}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the table, and what the run left."""
        session = self.session
        if not session.gate.results.cells:
            return
        gate, details = session.gate, session.complete_fingerprint.details
        write_summary(
            terminalreporter,
            gate.sentence,
            list(gate.results.cells.values()),
            gate.results.groups,
            list(gate.results.figures.values()),
            baseline=gate.baseline,
            details=details,
            versus=self._settings.judging.versus or gate.reference,
            load=gate.outside.found,
        )
        for note in session.notes:
            terminalreporter.write_line(note)


def _parameters(item: pytest.Function) -> Mapping[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


class CellReporter:
    """The value of `perf_cell` in a performance test: one cell to report, or one figure of a group.

    Attributes
    ----------
    cell:
        The cell or figure, as in `api[concurrency=8]` or `api tail`.
    """

    def __init__(
        self,
        session: GateSession,
        target: MeasurementTarget,
        cell: Cell | GroupFigure,
        request: pytest.FixtureRequest,
        benchmark: Any,
    ) -> None:
        self.cell = cell
        self._gate = session.gate
        self._target = target
        self._request = request
        self._benchmark = benchmark

    def check(self) -> None:
        """Report the test's cell; the first test of a target has all its cells measured and judged.

        Raises
        ------
        CellFailedError
            When the verdict fails the test.
        ServegateError
            When measuring failed.
        """
        # Until it has its rounds, so that pytest-benchmark doesn't complain of it when Ctrl-C ends the measuring.
        self._benchmark.skipped = True
        if isinstance(self.cell, GroupFigure):
            judged = self._gate.judge(self._target, self.cell, self._request.getfixturevalue)
            self._request.node.user_properties += list_figure_properties(judged)
            self._fail_for(judged.verdict)
            return
        result = self._gate.measure(self._target, self.cell, self._request.getfixturevalue)
        self._benchmark.extra_info.update(benchmark_figures(result))
        self._request.node.user_properties += list_properties(result)
        if any(sample.rounds_s for sample in result.samples):
            replay(self._benchmark, [seconds for sample in result.samples for seconds in sample.rounds_s])
        self._fail_for(result.verdict)

    def _fail_for(self, verdict: Verdict) -> None:
        if verdict.status in self._gate.failing:
            raise CellFailedError(self.cell, verdict)

"""Read this repository's settings of the gate, and the cells that it judges, through pytest itself."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.options.settings import Settings
from servegate.records import Cell
from servegate.session.hooks import NAME, SessionHooks


class _Listener:
    """A pytest plugin that notes what the gate sees."""

    settings: Settings
    cells: list[Cell]
    at_given_rate: list[Cell]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        hooks = session.config.pluginmanager.get_plugin(NAME)
        assert isinstance(hooks, SessionHooks), "performance tests stand on the command line"
        self.settings = hooks.session.settings
        selection = hooks.session.gate.selection
        self.cells, self.at_given_rate = (
            [cell for _, cells in targets for cell in cells]
            for targets in (selection.judged_throughput, selection.at_given_rate)
        )


def ask_gate(root: Path) -> tuple[Settings, list[Cell], list[Cell]]:
    """The settings of `pytest perf_tests`, the cells whose throughput it judges, and those whose load sets the rate.

    Raises
    ------
    SettingsError
        With pytest's output when it can't collect them.
    """
    listener = _Listener()
    # This process has imported servegate already, too late for its assertions to be rewritten.
    arguments = ["--assert=plain", "--rootdir", str(root), "--collect-only", str(root / "perf_tests")]
    with redirect_stdout(io.StringIO()) as output:
        status = pytest.main(arguments, plugins=[listener])
    if status != pytest.ExitCode.OK:
        raise SettingsError(f"pytest can't collect {root / 'perf_tests'}:\n{output.getvalue()}")
    return listener.settings, listener.cells, listener.at_given_rate

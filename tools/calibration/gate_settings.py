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

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        hooks = session.config.pluginmanager.get_plugin(NAME)
        assert isinstance(hooks, SessionHooks), "performance tests stand on the command line"
        self.settings, self.cells = hooks.session.settings, list(hooks.session.gate.selected)


def ask_gate(root: Path) -> tuple[Settings, list[Cell]]:
    """The settings of `pytest perf_tests` in a project, and its cells but for those that only inform.

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
    return listener.settings, [cell for cell in listener.cells if cell.group not in listener.settings.informing]

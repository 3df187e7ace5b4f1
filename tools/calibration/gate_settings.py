"""What the gate of this repository is set to, and which cells it judges: asked of pytest itself."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.plugin import get_cell
from servegate.records import Cell
from servegate.session.settings import GateSettings


class _Listener:
    """A pytest plugin that notes what it sees."""

    settings: GateSettings
    cells: list[Cell]

    def pytest_configure(self, config: pytest.Config) -> None:
        self.settings = GateSettings.from_pytest_config(config)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.cells = [cell for item in session.items if (cell := get_cell(item)) is not None]


def ask_gate(root: Path) -> tuple[GateSettings, list[Cell]]:
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

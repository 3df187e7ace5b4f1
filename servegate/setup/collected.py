"""Collects a project's performance tests with pytest, to see what they would measure."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from servegate.errors import SetupError
from servegate.judging.policy import Policy
from servegate.measure.targets import MeasurementTarget
from servegate.options.settings import Settings
from servegate.records import Cell, Fingerprint
from servegate.session.hooks import NAME, SessionHooks


@dataclass(frozen=True)
class Collected:
    """The targets of the performance tests, and the settings of a run.

    Attributes
    ----------
    targets:
        The targets whose throughput is judged, each with its cells.
    at_given_rate:
        The targets whose load sets the rate, of which a comparison judges the lateness, each with its cells.
    policy:
        The rule that they are judged by.
    figure_pairs:
        The number of pairs after which figures are first judged.
    """

    settings: Settings
    machine: Fingerprint
    targets: Sequence[tuple[MeasurementTarget, Sequence[Cell]]]
    at_given_rate: Sequence[tuple[MeasurementTarget, Sequence[Cell]]]
    policy: Policy
    figure_pairs: int


class _Collector:
    """A plugin that keeps what was collected."""

    def __init__(self) -> None:
        self.hooks: SessionHooks | None = None

    @pytest.hookimpl(trylast=True)  # after the session's own hook of this name
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the run's session."""
        self.hooks = session.config.pluginmanager.get_plugin(NAME)


def collect(paths: Sequence[str]) -> Collected:
    """Have pytest collect the performance tests of the current folder, and measure nothing.

    Parameters
    ----------
    paths:
        Files or folders with performance tests.

    Raises
    ------
    SetupError
        When there are none, or pytest can't collect them; the message is pytest's.
    """
    collector, said = _Collector(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *paths], plugins=[collector])
    if status != pytest.ExitCode.OK or collector.hooks is None:
        raise SetupError(
            f"pytest can't collect the performance tests in {' '.join(paths)}:\n{said.getvalue().strip()}\n"
            "`servegate init` writes performance tests where there are none"
        )
    session = collector.hooks.session
    selection, settings = session.gate.selection, session.settings
    return Collected(
        settings=settings,
        machine=session.fingerprint,
        targets=selection.judged_throughput,
        at_given_rate=selection.at_given_rate,
        policy=selection.policy,
        figure_pairs=settings.judging.figure_policy.looks[0],
    )

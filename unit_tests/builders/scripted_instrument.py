"""An instrument that measures nothing: it returns the throughput that a file, the plan, names for each cell.

The tiny project of `tiny_project.py` gets a copy of this file, so it imports nothing of the tests.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servegate.errors import MeasurementError, ReferenceCheckoutError
from servegate.measure.targets import Conditions, Launchable, LaunchedProcess
from servegate.records import Cell, Checkout, Latency, Sample, Telemetry
from servegate.telemetry.gauges import GAUGES

PLAN_FILE = "plan.json"
LOG_FILE = "measured.txt"
_ROUNDS = 5
_UNITS_PER_ROUND = 10
# How the fresh processes of a group differ, in the order of their starts; a geometric mean of 1.
_PROCESS_FACTORS = (1.00, 1.01, 1 / 1.01, 1.005, 1 / 1.005, 1.0075, 1 / 1.0075, 1.00)


@dataclass(frozen=True)
class ScriptedInstrument:
    """One "process" of a group; the plan is read when it starts."""

    number: int
    plan: Mapping[str, Any]
    log: Path
    details: Mapping[str, str]

    def measure(self, cell: Cell, seconds: float) -> Sample:
        """Return what the plan says, and note it in the log."""
        with self.log.open("a") as log:
            log.write(f"{cell} in process {self.number}\n")
        if "interrupt" in self.plan:
            raise KeyboardInterrupt(self.plan["interrupt"])
        if "error" in self.plan:
            raise MeasurementError(self.plan["error"])
        throughput_per_s = self.plan["throughput_per_s"][str(cell)] * _PROCESS_FACTORS[self.number % 8]
        failures = tuple(self.plan.get("failures", {}).get(str(cell), ()))
        round_s = _UNITS_PER_ROUND / throughput_per_s
        return Sample(
            rounds_s=() if failures else (round_s,) * _ROUNDS,
            units_per_round=_UNITS_PER_ROUND,
            latency=Latency(round_s * 1e3, round_s * 1e3, round_s * 1.5e3, round_s * 2e3),
            answers=_ROUNDS * _UNITS_PER_ROUND,
            failures=failures,
            telemetry=Telemetry(cpu_cores=1.25, gauges={gauge.name: 1.0 for gauge in GAUGES}, gpu=None),
            client_cores=(0.25,),
        )


@dataclass
class ScriptedTarget:
    """A target whose processes follow the plan in a folder."""

    name: str
    parameter: str
    unit: str
    folder: Path
    ceiling: None = None
    rate_is_given: bool = False
    figures: tuple[()] = ()
    started: int = 0

    @contextmanager
    def open(self, conditions: Conditions) -> Iterator[ScriptedInstrument]:
        """Read the plan."""
        plan = json.loads((self.folder / PLAN_FILE).read_text())
        details = {f"{self.name} precision": plan.get("precision", "float32")}
        yield ScriptedInstrument(self.started, plan, self.folder / LOG_FILE, details)
        self.started += 1

    def share(self, other: Launchable) -> None:
        """Share no process: each target has its own."""

    def explain_wrong_value(self, value: int | str) -> str | None:
        """Accept every value."""

    def launch(self, checkout: Checkout) -> AbstractContextManager[LaunchedProcess]:
        """Refuse: the plan is of the working tree alone."""
        raise ReferenceCheckoutError(f"{self.name} can't be started in {checkout.folder}")

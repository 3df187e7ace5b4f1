"""Two arms that exist in memory alone: a test sets their throughput and failures, and reads their log."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from servegate.errors import ProcessError
from servegate.judging.figures.kinds import FigureKind
from servegate.load.engines import LoadEngine
from servegate.measure.fresh_pairs import FreshPairs
from servegate.measure.pair_plan import Schedule
from servegate.measure.side_by_side import SideBySide
from servegate.measure.targets import Launchable, MeasuredRate, PausableTarget
from servegate.records import BurstRecord, Cell, Checkout, ProcessRecord, StageTime
from unit_tests.builders.runs.samples import make_sample

BASE = Checkout("base", Path("base"), "python")
HEAD = Checkout("head", Path("head"), "python")
CELL = Cell("model", "batch", 8)


def side_by_side() -> SideBySide:
    """A comparison of the two, in short bursts."""
    return SideBySide(FreshPairs(BASE, HEAD, Schedule(0.1, 4), random.Random(0)))


@dataclass
class FakeArms:
    """Two checkouts with a given throughput, and a log of the calls that each received."""

    throughput_per_s: Mapping[str, float]
    stalled_burst: int | None = None
    failing_arm: str | None = None
    never_ready_arm: str | None = None
    wrong_arm: str | None = None
    dying_arm: str | None = None
    stages: Mapping[str, Mapping[str, StageTime]] = field(default_factory=dict)
    shortest_burst_s: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    figures: Sequence[FigureKind] = ()
    records: Mapping[str, ProcessRecord] = field(default_factory=dict)
    takes_turns: bool = True
    rate_is_given: bool = False
    rate_per_s: float | None = None
    wrong_at_capacity: str | None = None
    shortest_turn_s: float = 0.0
    slowest_ms: Mapping[str, float] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    burst_s: set[float] = field(default_factory=set)
    turn_s: set[float] = field(default_factory=set)
    loaded_per_s: list[tuple[str, float | None]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    engines: dict[str, LoadEngine] = field(default_factory=dict)

    @contextmanager
    def launch(self, checkout: Checkout) -> Iterator["_Launched"]:
        self.log.append((checkout.name, "start"))
        if checkout.name == self.failing_arm:
            raise ProcessError("it does not start")
        try:
            yield _Launched(checkout.name, self)
        finally:
            self.log.append((checkout.name, "stop"))

    def share(self, other: Launchable) -> None:
        """Share no process."""

    @property
    def bursts(self) -> str:
        return "".join(name[0] for name, what in self.log if what == "burst")

    @property
    def turns(self) -> str:
        return "".join(name[0] for name, what in self.log if what == "turn")


@dataclass
class _Launched:
    name: str
    arms: FakeArms

    def wait_until_ready(self) -> None:
        if self.arms.never_ready_arm in (self.name, "both"):
            raise ProcessError("it is never ready")
        self.arms.log.append((self.name, "ready"))

    def ask_to_end(self) -> None:
        self.arms.log.append((self.name, "end"))

    def open(self, engine: LoadEngine, /) -> "_Paused":
        self.arms.engines[self.name] = engine
        return _Paused(self.name, self.arms)


@dataclass
class _Paused:
    name: str
    arms: FakeArms
    is_python: bool = False

    @property
    def details(self) -> Mapping[str, str]:
        return self.arms.details.get(self.name, {})

    @property
    def record(self) -> ProcessRecord:
        return self.arms.records.get(self.name, ProcessRecord(None, None))

    def adapt_to(self, other: PausableTarget) -> "_Paused":
        return self

    def measure_rate(self, cell: Cell) -> MeasuredRate | None:
        if self.arms.rate_per_s is None:
            return None
        self.arms.log.append((self.name, "capacity"))
        rate_per_s = self.arms.rate_per_s / (1.0 if self.name == "base" else 2.0)
        return MeasuredRate(rate_per_s, 500, ("wrong",) if self.name == self.arms.wrong_at_capacity else ())

    def start_load(self, cell: Cell, rate_per_s: float | None = None) -> "_Load":
        self.arms.cells.append(cell)
        self.arms.loaded_per_s.append((self.name, rate_per_s))
        return _Load(self.name, self.arms, self.arms.shortest_burst_s.get(self.name, 0.0))


@dataclass
class _Load:
    name: str
    arms: FakeArms
    shortest_burst_s: float
    units: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def takes_turns(self) -> bool:
        return self.arms.takes_turns

    @property
    def shortest_turn_s(self) -> float:
        return self.arms.shortest_turn_s

    def turn(self, seconds: float) -> None:
        self.arms.log.append((self.name, "turn"))
        self.arms.turn_s.add(seconds)

    def burst(self, seconds: float) -> None:
        if self.name == self.arms.dying_arm:
            raise ProcessError("it died")
        stalled = len(self.arms.bursts) == self.arms.stalled_burst
        self.arms.log.append((self.name, "burst"))
        self.arms.burst_s.add(seconds)
        self.units.append(0 if stalled else 1000)
        self.seconds.append(1000 / self.arms.throughput_per_s[self.name])

    def finish(self) -> BurstRecord:
        self.arms.log.append((self.name, "finish"))
        failures = ("wrong",) if self.name == self.arms.wrong_arm else ()
        sample = make_sample(self.arms.throughput_per_s[self.name], failures=failures)
        if self.arms.stages:
            sample = replace(sample, stages=self.arms.stages[self.name], telemetry=None)
        if self.name in self.arms.slowest_ms:
            sample = replace(sample, windows_ms=((self.arms.slowest_ms[self.name],),))
        return BurstRecord(tuple(self.units), tuple(self.seconds), sample)

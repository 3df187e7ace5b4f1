"""The gate's settings: parsed once from pytest.ini and the command line, frozen; nothing else reads them there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from perfgate.errors import SettingsError
from perfgate.judge import Policy

MIN_ACCEPTED_PROCESSES = 8


@dataclass(frozen=True)
class _Option:
    """An option with its ini twin: `--perf-some-name` and `perf_some_name`."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"must lie in {low:g}..{high:g}")
        return value

    return parse


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must lie in {low}..{high}")
        return value

    return parse


def parse_cells(text: str) -> dict[str, tuple[int, ...]]:
    """`model=1,8 api=1,8,32` to {"model": (1, 8), "api": (1, 8, 32)}."""
    cells: dict[str, tuple[int, ...]] = {}
    for part in text.split():
        group, equals, values = part.partition("=")
        if not (group and equals and values) or group in cells:
            raise ValueError("must look like model=1,8 api=1,8,32, each group once")
        numbers = tuple(int(value) for value in values.split(","))
        if min(numbers) < 1 or len(set(numbers)) != len(numbers):
            raise ValueError(f"the values of {group!r} must be different whole numbers above 0")
        cells[group] = numbers
    return cells


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return text == "yes"


def _looks(text: str) -> tuple[int, ...]:
    looks = tuple(int(part) for part in text.split())
    if not looks or looks[0] < 2 or any(one >= other for one, other in pairwise(looks)):
        raise ValueError("must be whole numbers that rise, from 2 on, as in: 3 6 9 13 20")
    return looks


_CELLS = _Option("perf_cells", "", "what is measured, as in: model=1,8,32,64 api=1,8,32,64", parse_cells)
_OPTIONS = (
    _CELLS,
    _Option("perf_informing", "", "groups that are shown but not judged", lambda text: tuple(text.split())),
    _Option("perf_paths", "perf_tests", "folders with performance tests", lambda text: tuple(text.split())),
    _Option("perf_baselines", "perf_tests/baselines", "folder of the stored baselines", Path),
    _Option("perf_processes", "3", "fresh processes that measure each cell", _whole_number(1, 1000)),
    _Option("perf_seconds", "5", "seconds of measuring for a cell in a process", _number(0.1, 3600)),
    _Option("perf_warmup_seconds", "1", "seconds of load before measuring a cell", _number(0, 600)),
    _Option("perf_margin_percent", "3", "smallest change of throughput that is accused", _number(0.1, 90)),
    _Option("perf_error_percent", "1", "how often a run of identical code may be accused", _number(0.01, 50)),
    _Option("perf_pairs", "3 6 9 13 20", "after how many pairs of fresh processes a comparison is judged", _looks),
    _Option("perf_confirm", "yes", "compare side by side with the baseline's commit what it can't clear", _yes_or_no),
    _Option("perf_burst_seconds", "0.25", "seconds of load in a burst of a comparison", _number(0.05, 600)),
    _Option("perf_blocks", "4", "blocks of four bursts for a cell in a pair", _whole_number(1, 1000)),
    _Option("perf_budget_minutes", "30", "minutes after which a group's comparison ends", _number(0, 6000)),
    _Option("perf_service", "service", "folder of the service that is measured", str),
    _Option("perf_lock", "requirements.lock", "file that pins the service's packages", str),
    _Option("perf_packages", "", "packages whose versions are recorded", lambda text: tuple(text.split())),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("perfgate", "performance gate (compare with --benchmark-compare)")
    for option in _OPTIONS:
        group.addoption(option.flag, dest=option.name, default=None, metavar="VALUE", help=option.help)
        parser.addini(option.name, option.help, default=option.default)
    group.addoption("--perf-strict", action="store_true", help="INCONCLUSIVE and NO_BASELINE fail, too (for CI)")
    group.addoption(
        "--perf-versus",
        default=None,
        metavar="REF",
        help="compare side by side with this branch, tag or commit (HEAD: uncommitted work with the last commit)",
    )
    group.addoption(
        "--perf-same-env",
        action="store_true",
        help="the other checkout shares this environment, whatever its lock says",
    )
    group.addoption(
        "--perf-accept",
        action="store_true",
        help=f"measure at least {MIN_ACCEPTED_PROCESSES} fresh processes and store them as this machine's baseline",
    )


@dataclass(frozen=True)
class GateSettings:
    """What the gate does in this run.

    Attributes
    ----------
    cells:
        Values by group, as in {"api": (1, 8)}.
    informing:
        Groups whose cells are measured and shown; only a wrong answer fails them.
    paths, baselines:
        Folders, absolute.
    processes, seconds, warmup_seconds:
        How each cell is measured.
    judged:
        Whether results are compared with the baseline (`--benchmark-compare`).
    confirm:
        Whether what the stored baseline can't clear is compared side by side with its commit.
    versus:
        The commit to compare with side by side, instead of the stored baseline.
    strict, accept, same_env:
        See `--help`.
    """

    root: Path
    cells: Mapping[str, tuple[int, ...]]
    informing: frozenset[str]
    paths: tuple[Path, ...]
    baselines: Path
    processes: int
    seconds: float
    warmup_seconds: float
    margin: float
    error_level: float
    service: str
    lock: str
    packages: tuple[str, ...]
    judged: bool
    strict: bool
    accept: bool
    versus: str | None
    confirm: bool
    same_env: bool
    looks: tuple[int, ...]
    burst_seconds: float
    blocks: int
    budget_minutes: float

    @classmethod
    def from_pytest_config(cls, config: pytest.Config) -> "GateSettings":
        """Read and check the settings.

        Raises
        ------
        SettingsError
            For a wrong value, with its source, or for options that contradict each other.
        """
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for option in _OPTIONS:
            values[option.name], sources[option.name] = _read(config, option)
        cells = _all_cells(config, values["perf_cells"])
        accept = bool(config.getoption("perf_accept"))
        versus: str | None = config.getoption("perf_versus")
        judged = bool(config.getoption("benchmark_compare", None)) or versus is not None
        processes: int = values["perf_processes"]
        if accept:
            if judged:
                raise SettingsError("--perf-accept stores a baseline; leave out --benchmark-compare and --perf-versus")
            if processes < MIN_ACCEPTED_PROCESSES and sources["perf_processes"].startswith("--"):
                raise SettingsError(
                    f"--perf-processes={processes}: a baseline needs at least {MIN_ACCEPTED_PROCESSES} fresh processes"
                )
            processes = max(processes, MIN_ACCEPTED_PROCESSES)
        strict = bool(config.getoption("perf_strict"))
        if strict and not judged:
            raise SettingsError("--perf-strict judges nothing without --benchmark-compare or --perf-versus")
        root = config.rootpath
        return cls(
            root=root,
            cells=cells,
            informing=_informing(values["perf_informing"], sources["perf_informing"], cells),
            paths=tuple(root / path for path in values["perf_paths"]),
            baselines=root / values["perf_baselines"],
            processes=processes,
            seconds=values["perf_seconds"],
            warmup_seconds=values["perf_warmup_seconds"],
            margin=values["perf_margin_percent"] / 100,
            error_level=values["perf_error_percent"] / 100,
            service=values["perf_service"],
            lock=values["perf_lock"],
            packages=values["perf_packages"],
            judged=judged,
            strict=strict,
            accept=accept,
            versus=versus,
            confirm=values["perf_confirm"],
            same_env=bool(config.getoption("perf_same_env")),
            looks=values["perf_pairs"],
            burst_seconds=values["perf_burst_seconds"],
            blocks=values["perf_blocks"],
            budget_minutes=values["perf_budget_minutes"],
        )

    def policy(self, gated_cells: int) -> Policy:
        """The judge's policy for this many gated cells."""
        return Policy(margin=self.margin, error_level=self.error_level, gated_cells=gated_cells, looks=self.looks)

    @property
    def measuring(self) -> dict[str, str]:
        """How each cell is measured, as a baseline records it."""
        return {"seconds a cell": f"{self.seconds:g}", "warm-up seconds": f"{self.warmup_seconds:g}"}

    def describe(self) -> str:
        """One line for pytest's header."""
        mode = "accept a baseline" if self.accept else "judge" if self.judged else "measure, not judged"
        how = f"{self.processes} fresh processes, {self.seconds:g} s a cell"
        if self.versus is not None:
            mode = f"judge side by side with {self.versus}"
            how = f"looks after {', '.join(map(str, self.looks))} pairs of fresh processes"
        if self.strict:
            mode += ", strict"
        return f"perfgate: {mode}; {how}; margin {self.margin:.0%}, error {self.error_level:g}"

    @property
    def mode_option(self) -> str:
        """The option that chose what this run does; empty when it only measures."""
        if self.accept:
            return "--perf-accept"
        if self.versus is not None:
            return f"--perf-versus {self.versus}"
        return "--benchmark-compare" if self.judged else ""


def _read(config: pytest.Config, option: _Option) -> tuple[Any, str]:
    text = config.getoption(option.name)
    source = option.flag
    if text is None:
        text, source = config.getini(option.name), f"{option.name} in {config.inipath or 'the default'}"
    try:
        return option.parse(text), source
    except ValueError as error:
        raise SettingsError(f"{source}={text!r}: {error}") from None


def _all_cells(config: pytest.Config, named: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """The command line replaces the groups that it names and leaves the others as pytest.ini has them."""
    text = config.getini(_CELLS.name)
    try:
        cells = parse_cells(text)
    except ValueError as error:
        raise SettingsError(f"{_CELLS.name} in {config.inipath}={text!r}: {error}") from None
    unknown = [group for group in named if cells and group not in cells]
    if unknown:
        raise SettingsError(f"{_CELLS.flag}: there is no group {unknown[0]!r}, only {', '.join(map(repr, cells))}")
    return {**cells, **named}


def _informing(groups: Sequence[str], source: str, cells: Mapping[str, object]) -> frozenset[str]:
    for group in groups:
        if group not in cells:
            raise SettingsError(f"{source}: there is no group {group!r}, only {', '.join(map(repr, cells))}")
    return frozenset(groups)

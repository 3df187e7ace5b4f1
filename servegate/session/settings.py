"""The gate's settings: parsed once from pytest.ini and the command line, frozen; nothing else reads them there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import SettingsError
from servegate.judging.judge import Policy
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.measure.side_by_side import Schedule
from servegate.session.options import CELLS, MIN_ACCEPTED_PROCESSES, OPTIONS, Option


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
    report:
        Folder of the run's report, absolute; None for none.
    history:
        Folder that keeps each run's results, absolute; None for none.
    processes, seconds, warmup_seconds:
        How each cell is measured.
    judged:
        Whether results are compared with the baseline (`--benchmark-compare`).
    confirm:
        Whether what the stored baseline can't clear is compared side by side with its commit.
    versus:
        The commit to compare with side by side, instead of the stored baseline.
    deployed:
        A service that runs already, and is measured instead of fresh processes; None for those.
    engine:
        What makes the load of a closed loop; side by side it is always the built-in client.
    selected_groups:
        The only groups that are measured; None for all.
    strict, accept, same_env:
        See `--help`.
    """

    root: Path
    cells: Mapping[str, tuple[int, ...]]
    informing: frozenset[str]
    paths: tuple[Path, ...]
    baselines: Path
    report: Path | None
    history: Path | None
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
    deployed: Deployed | None
    engine: LoadEngine
    selected_groups: frozenset[str] | None
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
        for option in OPTIONS:
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
        deployed = _deployed(config, versus)
        engine = LoadEngine(
            values["perf_load_engine"],
            values["perf_locust_workers"],
            values["perf_locust_remote_workers"],
            values["perf_locust_bind"],
        )
        engine.require()
        root = config.rootpath
        return cls(
            root=root,
            cells=cells,
            informing=_informing(values["perf_informing"], sources["perf_informing"], cells),
            paths=tuple(root / path for path in values["perf_paths"]),
            baselines=root / values["perf_baselines"],
            report=root / values["perf_report"] if values["perf_report"] else None,
            history=root / values["perf_history"] if values["perf_history"] else None,
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
            deployed=deployed,
            engine=engine,
            selected_groups=frozenset(values["perf_cells"]) if deployed else None,
            confirm=values["perf_confirm"] and deployed is None,
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
    def schedule(self) -> Schedule:
        """How a comparison side by side is measured."""
        return Schedule(self.burst_seconds, self.blocks, self.budget_minutes * 60)

    @property
    def rule(self) -> dict[str, object]:
        """How the run judges, as its document records it."""
        return {
            "margin": self.margin,
            "error_level": self.error_level,
            "looks": list(self.looks),
            "strict": self.strict,
        }

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
        if self.deployed is not None:
            mode += f", the service at {self.deployed.url}"
        if self.strict:
            mode += ", strict"
        return f"servegate: {mode}; {how}; margin {self.margin:.0%}, error {self.error_level:g}"

    @property
    def mode_option(self) -> str:
        """The option that chose what this run does; empty when it only measures."""
        if self.accept:
            return "--perf-accept"
        if self.versus is not None:
            return f"--perf-versus {self.versus}"
        return "--benchmark-compare" if self.judged else ""


def _deployed(config: pytest.Config, versus: str | None) -> Deployed | None:
    url, ca_file = config.getoption("perf_server_url"), config.getoption("perf_server_ca")
    if url is None:
        if ca_file is not None:
            raise SettingsError("--perf-server-ca is for a service elsewhere; name that with --perf-server-url")
        return None
    if versus is not None:
        raise SettingsError("--perf-versus starts two services here; leave out --perf-server-url")
    if config.getoption(CELLS.name) is None:
        raise SettingsError(
            "--perf-server-url loads a service that others may use: name the load, as in --perf-cells 'api=1,8'"
        )
    return Deployed.from_options(url, ca_file)


def _read(config: pytest.Config, option: Option) -> tuple[Any, str]:
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
    text = config.getini(CELLS.name)
    try:
        cells = CELLS.parse(text)
    except ValueError as error:
        raise SettingsError(f"{CELLS.name} in {config.inipath}={text!r}: {error}") from None
    unknown = [group for group in named if cells and group not in cells]
    if unknown:
        raise SettingsError(f"{CELLS.flag}: there is no group {unknown[0]!r}, only {', '.join(map(repr, cells))}")
    return {**cells, **named}


def _informing(groups: Sequence[str], source: str, cells: Mapping[str, object]) -> frozenset[str]:
    for group in groups:
        if group not in cells:
            raise SettingsError(f"{source}: there is no group {group!r}, only {', '.join(map(repr, cells))}")
    return frozenset(groups)

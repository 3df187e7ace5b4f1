"""The gate's settings by what they are about: read once from the command line and the ini file, then frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.judging.policy import Policy
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.measure.side_by_side import Schedule
from servegate.session import options
from servegate.session.options import CELLS, MIN_ACCEPTED_PROCESSES
from servegate.storage.environments import EnvironmentRecipe

# Throughput gets half of the run's error level; the other half is kept for other figures.
_SHARE_OF_THROUGHPUT = 0.5


@dataclass(frozen=True)
class MeasuringSettings:
    """How cells are measured process by process.

    Attributes
    ----------
    processes:
        Fresh processes that measure each cell.
    seconds, warmup_seconds:
        Of load for a cell in a process.
    engine:
        What makes the load of a closed loop; side by side it is always the built-in client.
    deployed:
        A service that runs already, and is measured instead of fresh processes; None for those.
    """

    processes: int
    seconds: float
    warmup_seconds: float
    engine: LoadEngine
    deployed: Deployed | None

    @property
    def details(self) -> dict[str, str]:
        """How each cell is measured, as a baseline records it."""
        return {"seconds a cell": f"{self.seconds:g}", "warm-up seconds": f"{self.warmup_seconds:g}"}


@dataclass(frozen=True)
class JudgingSettings:
    """What is compared with what, and by which rule.

    Attributes
    ----------
    is_judged:
        Whether results are compared with the baseline (`--benchmark-compare`) or a commit.
    is_strict:
        Whether INCONCLUSIVE and NO_BASELINE fail, too.
    versus:
        The commit to compare with side by side, instead of the stored baseline; None for that.
    confirm:
        Whether what the stored baseline can't clear is compared side by side with its commit.
    margin, margins, looks:
        As in `Policy`.
    error_level:
        Probability that a run of identical code is accused, whatever figure it is of.
    schedule:
        How a pair is measured.
    budget_s:
        Seconds after which the run begins no further pair.
    """

    is_judged: bool
    is_strict: bool
    versus: str | None
    confirm: bool
    margin: float
    margins: Mapping[str, float]
    error_level: float
    looks: tuple[int, ...]
    schedule: Schedule
    budget_s: float

    def policy(self, *, groups: int, cells: int) -> Policy:
        """The judge's policy for the throughput of so many groups and cells."""
        return Policy(
            margin=self.margin,
            margins=self.margins,
            error_level=_SHARE_OF_THROUGHPUT * self.error_level,
            groups=groups,
            cells=cells,
            looks=self.looks,
        )

    @property
    def rule(self) -> dict[str, object]:
        """How the run judges, as its document records it."""
        return {
            "margin": self.margin,
            "margins": dict(self.margins),
            "error_level": self.error_level,
            "looks": list(self.looks),
            "strict": self.is_strict,
        }


@dataclass(frozen=True)
class FileSettings:
    """Folders, all absolute.

    Attributes
    ----------
    paths:
        With performance tests.
    baselines:
        Of the stored baselines.
    report, history:
        That the run's report is written to, and that keeps each run's results; None for none.
    """

    paths: tuple[Path, ...]
    baselines: Path
    report: Path | None
    history: Path | None


@dataclass(frozen=True)
class ProjectSettings:
    """The project that is measured.

    Attributes
    ----------
    service:
        Its folder with the service.
    packages:
        Packages whose versions are recorded.
    recipe:
        The recipe for another commit's environment.
    carried:
        Files or folders that git ignores and both arms of a comparison get.
    """

    service: str
    packages: tuple[str, ...]
    recipe: EnvironmentRecipe
    carried: tuple[str, ...]

    @property
    def lock(self) -> str:
        """The file that pins the service's packages."""
        return self.recipe.lock


@dataclass(frozen=True)
class Settings:
    """What the gate does in this run.

    Attributes
    ----------
    cells:
        Values by group, as in {"api": (1, 8)}.
    informing:
        Groups whose cells are measured and shown; only a wrong answer fails them.
    selected_groups:
        The only groups that are measured; None for all.
    is_accepting:
        Whether the run's figures become the baseline.
    """

    root: Path
    cells: Mapping[str, tuple[int, ...]]
    informing: frozenset[str]
    selected_groups: frozenset[str] | None
    is_accepting: bool
    measuring: MeasuringSettings
    judging: JudgingSettings
    files: FileSettings
    project: ProjectSettings

    @classmethod
    def from_pytest_config(cls, config: pytest.Config) -> "Settings":
        """Read and check the settings.

        Raises
        ------
        SettingsError
            For a wrong value, with its source, or for options that contradict each other.
        """
        read = {option.name: option.read(config) for option in options.OPTIONS}
        value = {name: parsed for name, (parsed, _) in read.items()}
        cells = _all_cells(config, value["perf_cells"])
        versus = value["perf_versus"] or None
        is_judged = bool(config.getoption("benchmark_compare", None)) or versus is not None
        is_accepting, is_strict = bool(config.getoption("perf_accept")), bool(config.getoption("perf_strict"))
        if is_accepting and is_judged:
            raise SettingsError("--perf-accept stores a baseline; leave out --benchmark-compare and --perf-versus")
        if is_strict and not is_judged:
            raise SettingsError("--perf-strict judges nothing without --benchmark-compare or --perf-versus")
        deployed = _deployed(config, value["perf_server_url"], value["perf_server_ca"], versus)
        engine = LoadEngine(
            value["perf_load_engine"],
            value["perf_locust_workers"],
            value["perf_locust_remote_workers"],
            value["perf_locust_bind"],
        )
        engine.require()
        root = config.rootpath
        return cls(
            root=root,
            cells=cells,
            informing=_informing(*read["perf_informing"], cells),
            selected_groups=frozenset(value["perf_cells"]) if deployed else None,
            is_accepting=is_accepting,
            measuring=MeasuringSettings(
                processes=_processes(*read["perf_processes"], is_accepting=is_accepting),
                seconds=value["perf_seconds"],
                warmup_seconds=value["perf_warmup_seconds"],
                engine=engine,
                deployed=deployed,
            ),
            judging=JudgingSettings(
                is_judged=is_judged,
                is_strict=is_strict,
                versus=versus,
                confirm=value["perf_confirm"] and deployed is None,
                margin=value["perf_margin_percent"][0],
                margins=_margins(*read["perf_margin_percent"], cells),
                error_level=value["perf_error_percent"] / 100,
                looks=value["perf_pairs"],
                schedule=Schedule(value["perf_burst_seconds"], value["perf_blocks"]),
                budget_s=value["perf_budget_minutes"] * 60,
            ),
            files=FileSettings(
                paths=tuple(root / path for path in value["perf_paths"]),
                baselines=root / value["perf_baselines"],
                report=root / value["perf_report"] if value["perf_report"] else None,
                history=root / value["perf_history"] if value["perf_history"] else None,
            ),
            project=ProjectSettings(
                service=value["perf_service"],
                packages=value["perf_packages"],
                recipe=EnvironmentRecipe(
                    value["perf_lock"], value["perf_environment"], bool(config.getoption("perf_same_env"))
                ),
                carried=value["perf_carry"],
            ),
        )

    def describe(self) -> str:
        """One line for pytest's header."""
        judging, measuring = self.judging, self.measuring
        mode = "accept a baseline" if self.is_accepting else "judge" if judging.is_judged else "measure, not judged"
        how = f"{measuring.processes} fresh processes, {measuring.seconds:g} s a cell"
        if judging.versus is not None:
            mode = f"judge side by side with {judging.versus}"
            how = f"looks after {', '.join(map(str, judging.looks))} pairs of fresh processes"
        if measuring.deployed is not None:
            mode += f", the service at {measuring.deployed.url}"
        if judging.is_strict:
            mode += ", strict"
        return f"servegate: {mode}; {how}; margin {100 * judging.margin:g} %, error {judging.error_level:g}"

    @property
    def mode_option(self) -> str:
        """The option that chose what this run does; empty when it only measures."""
        if self.is_accepting:
            return "--perf-accept"
        if self.judging.versus is not None:
            return f"--perf-versus {self.judging.versus}"
        return "--benchmark-compare" if self.judging.is_judged else ""


def _margins(
    margins: tuple[float, Mapping[str, float]], source: str, cells: Mapping[str, tuple[int, ...]]
) -> Mapping[str, float]:
    _, named = margins
    known = {*cells, *(f"{group}[{value}]" for group, values in cells.items() for value in values)}
    unknown = sorted(named.keys() - known)
    if unknown:
        raise SettingsError(f"{source}: {', '.join(unknown)} is no group or cell of perf_cells, as api or api[64]")
    return named


def _processes(asked: int, source: str, *, is_accepting: bool) -> int:
    if not is_accepting:
        return asked
    if asked < MIN_ACCEPTED_PROCESSES and source.startswith("--"):
        raise SettingsError(f"{source}={asked}: a baseline needs at least {MIN_ACCEPTED_PROCESSES} fresh processes")
    return max(asked, MIN_ACCEPTED_PROCESSES)


def _deployed(config: pytest.Config, url: str, ca_file: str, versus: str | None) -> Deployed | None:
    if not url:
        if ca_file:
            raise SettingsError("--perf-server-ca is for a service elsewhere; name that with --perf-server-url")
        return None
    if versus is not None:
        raise SettingsError("--perf-versus starts two services here; leave out --perf-server-url")
    if config.getoption(CELLS.name) is None:
        raise SettingsError(
            "--perf-server-url loads a service that others may use: name the load, as in --perf-cells 'api=1,8'"
        )
    return Deployed.from_options(url, ca_file or None)


def _all_cells(config: pytest.Config, named: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
    """The command line replaces the groups that it names and leaves the others as the ini file has them."""
    cells, _ = CELLS.read_ini(config)
    unknown = [group for group in named if cells and group not in cells]
    if unknown:
        raise SettingsError(f"{CELLS.flag}: there is no group {unknown[0]!r}, only {', '.join(map(repr, cells))}")
    return {**cells, **named}


def _informing(groups: Sequence[str], source: str, cells: Mapping[str, object]) -> frozenset[str]:
    for group in groups:
        if group not in cells:
            raise SettingsError(f"{source}: there is no group {group!r}, only {', '.join(map(repr, cells))}")
    return frozenset(groups)

"""The gate's settings by what they are about, frozen; `read_settings.py` reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.judging.figures.policy import FigurePolicy
from servegate.judging.policy import Policy
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.measure.pair_plan import Schedule
from servegate.options.allowance import Allowance
from servegate.options.cells import Cells
from servegate.storage.environments import EnvironmentRecipe

# Throughput gets half of the run's error level; the figures beside it share the other half.
_SHARE_OF_THROUGHPUT = 0.5


@dataclass(frozen=True)
class MeasuringSettings:
    """The settings for measuring cells process by process.

    Attributes
    ----------
    processes:
        Fresh processes that measure each cell.
    seconds, warmup_seconds:
        Seconds of load for a cell in a process, and of load before it is measured.
    engine:
        The program that makes the load of a closed loop. Side by side it is always the built-in client, with the same
        number of processes.
    deployed:
        A running service that is measured instead of fresh processes; None to measure fresh processes.
    waits:
        Whether the run waits while another run measures on this machine; otherwise it ends.
    """

    processes: int
    seconds: float
    warmup_seconds: float
    engine: LoadEngine
    deployed: Deployed | None
    waits: bool

    @property
    def details(self) -> dict[str, str]:
        """The conditions of each cell's measurement, for the record in a baseline."""
        return {
            "seconds a cell": f"{self.seconds:g}",
            "warm-up seconds": f"{self.warmup_seconds:g}",
            "load processes": self.engine.description,
        }


@dataclass(frozen=True)
class JudgingSettings:
    """The comparison that a run makes, and the rule by which it judges.

    Attributes
    ----------
    is_judged:
        Whether results are compared with the baseline (`--benchmark-compare`) or a commit.
    is_strict:
        Whether INCONCLUSIVE and NO_BASELINE fail as well.
    versus:
        The commit to compare with side by side; None to compare with the stored baseline.
    confirm:
        Whether a group that the stored baseline can't clear is compared side by side with the baseline's commit.
    margin, margins, looks:
        As in `Policy`.
    allowances:
        Changes for the worse that the command line allows.
    figures:
        The margins of `FigurePolicy`.
    latency_limits:
        The latencies that are too long, also where nothing is compared.
    error_level:
        Probability that a run of identical code is accused, over all its figures together.
    schedule:
        How a pair is measured.
    budget_s:
        Seconds after which the run starts no further pair.
    """

    is_judged: bool
    is_strict: bool
    versus: str | None
    confirm: bool
    margin: float
    margins: Mapping[str, float]
    allowances: tuple[Allowance, ...]
    figures: Mapping[str, float | None]
    latency_limits: LatencyLimits
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
    def figure_policy(self) -> FigurePolicy:
        """The judge's policy for the figures beside throughput."""
        # A figure's first look must not come before the pairs that it needs.
        first_pairs = min(self.looks[0], FigurePolicy.looks[0])
        return FigurePolicy(self.figures, self.error_level, first_pairs=first_pairs)

    @property
    def rule(self) -> dict[str, object]:
        """The rule by which the run judges, for the record in its document."""
        return {
            "margin": self.margin,
            "margins": dict(self.margins),
            "figures": dict(self.figures),
            "slow_ms": dict(self.latency_limits.slow_ms),
            "slow_allowed": dict(self.latency_limits.allowed),
            "error_level": self.error_level,
            "looks": list(self.looks),
            "strict": self.is_strict,
        }


@dataclass(frozen=True)
class FileSettings:
    """Folders, as absolute paths.

    Attributes
    ----------
    paths:
        Folders with performance tests.
    baselines:
        The folder of the stored baselines.
    report, history:
        The folder of the run's report, and the folder that keeps the results of all runs; None if it isn't wanted.
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
        The folder or file of the project that has the service's code.
    packages:
        Packages whose versions are recorded.
    recipe:
        The recipe for another commit's environment.
    carried:
        Files or folders that git ignores and that both arms of a comparison get nevertheless.
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
    """The settings of the gate for this run.

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
    cells: Cells
    informing: frozenset[str]
    selected_groups: frozenset[str] | None
    is_accepting: bool
    measuring: MeasuringSettings
    judging: JudgingSettings
    files: FileSettings
    project: ProjectSettings

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

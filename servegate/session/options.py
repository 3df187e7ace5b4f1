"""Every option of the gate, declared once: its name, its values, its default, its help and its ini twin.

The plugin imports this module into every pytest run of a project that has servegate installed, so it imports pytest and
the standard library alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from servegate.errors import SettingsError
from servegate.judging.policy import parse_margins
from servegate.load.workload import KEY_VARIABLE

MIN_ACCEPTED_PROCESSES = 8


@dataclass(frozen=True)
class Option:
    """An option `--perf-some-name`, with an ini twin `perf_some_name` unless it is meant for a single run.

    Attributes
    ----------
    default:
        The text that stands for a missing value; it is parsed as any other.
    parse:
        Makes a value of the text, or raises ValueError with what the text must look like.
    choices:
        The only texts that are allowed; empty for any.
    metavar:
        The value's name in `--help`.
    is_for_one_run:
        Without an ini twin.
    """

    name: str
    default: str
    help: str
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    metavar: str = "VALUE"
    is_for_one_run: bool = False

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def description(self) -> str:
        """The help with the default."""
        return f"{self.help} (default: {self.default})" if self.default else self.help

    def read(self, config: pytest.Config) -> tuple[Any, str]:
        """The value, and where it came from; the command line goes before the ini file, and that before the default.

        Raises
        ------
        SettingsError
            For a wrong value, with its source.
        """
        text = config.getoption(self.name)
        if text is not None:
            return self.parse_from(text, self.flag), self.flag
        return self.read_ini(config)

    def read_ini(self, config: pytest.Config) -> tuple[Any, str]:
        """As `read`, without the command line."""
        # pytest's own getini has no type that takes a string as well as a TOML list.
        entry = config._inicfg.get(self.name)
        source = f"{self.name} in {config.inipath or 'the default'}"
        return self.parse_from(self.default if entry is None else _as_text(entry.value), source), source

    def parse_from(self, text: str, source: str) -> Any:
        """The value of the text; errors as in `read`."""
        try:
            if self.choices and text not in self.choices:
                raise ValueError(f"must be {' or '.join(self.choices)}")
            return self.parse(text)
        except ValueError as error:
            raise SettingsError(f"{source}={text!r}: {error}") from None


@dataclass(frozen=True)
class Switch:
    """An option without a value, for a single run."""

    name: str
    help: str

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")


def _as_text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _cells(text: str) -> dict[str, tuple[int, ...]]:
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


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdecimal()):
        raise ValueError("must look like 0.0.0.0:5557")
    return text


def _looks(text: str) -> tuple[int, ...]:
    looks = tuple(int(part) for part in text.split())
    if not looks or looks[0] < 2 or any(one >= other for one, other in pairwise(looks)):
        raise ValueError("must be whole numbers that rise, from 2 on, as in: 4 6 9 14 22")
    return looks


CELLS = Option(
    "perf_cells",
    "",
    "what is measured, as in: model=1,8 api=1,8,32; on the command line, of the groups that it names",
    _cells,
    metavar="GROUP=N,N...",
)
PATHS = Option("perf_paths", "perf_tests", "folders with performance tests", _words, metavar="FOLDERS")
OPTIONS = (
    Option(
        "perf_versus",
        "",
        "compare side by side with this branch, tag or commit (HEAD: uncommitted work with the last commit)",
        metavar="REF",
        is_for_one_run=True,
    ),
    CELLS,
    Option("perf_informing", "", "groups that are shown but not judged", _words, metavar="GROUPS"),
    Option(
        "perf_margin_percent",
        "2",
        "slowdown of a group that is to be found; others by group and cell, as in: 2 api=3 api[64]=4",
        parse_margins,
        metavar="PERCENT",
    ),
    Option(
        "perf_error_percent",
        "1",
        "share of runs of identical code that may be accused",
        _number(0.01, 50),
        metavar="PERCENT",
    ),
    Option(
        "perf_budget_minutes",
        "45",
        "time after which a run begins no further pair",
        _number(0, 6000),
        metavar="MINUTES",
    ),
    Option("perf_processes", "3", "fresh processes that measure each cell", _whole_number(1, 1000), metavar="N"),
    Option("perf_seconds", "5", "time that a process measures each cell", _number(0.1, 3600), metavar="SECONDS"),
    Option("perf_warmup_seconds", "1", "time of load before a cell is measured", _number(0, 600), metavar="SECONDS"),
    Option(
        "perf_confirm",
        "yes",
        "compare side by side with the baseline's commit what the stored baseline can't clear",
        parse=lambda text: text == "yes",
        choices=("yes", "no"),
    ),
    PATHS,
    Option("perf_baselines", "perf_tests/baselines", "folder of the stored baselines", Path, metavar="FOLDER"),
    Option("perf_report", "perf-report", "folder that a run's report is written to; empty for none", metavar="FOLDER"),
    Option(
        "perf_history",
        "",
        "folder that keeps each run's results, for `servegate trend`; empty for none",
        metavar="FOLDER",
    ),
    Option("perf_service", "service", "folder of the service that is measured", metavar="FOLDER"),
    Option(
        "perf_lock",
        "requirements.lock",
        "file that pins the service's packages; without it a comparison's two sides share this environment",
        metavar="FILE",
    ),
    Option(
        "perf_environment",
        "",
        "a shell's command that makes another commit's environment in {folder} of its lock file, {lock}, run in the "
        "commit's folder, as in: UV_PROJECT_ENVIRONMENT={folder} uv sync --frozen --no-install-project; empty for pip",
        metavar="COMMAND",
    ),
    Option(
        "perf_carry",
        "",
        "files or folders that git ignores but the service needs, as weights.npz data/: both sides of a comparison get "
        "them, read-only",
        _words,
        metavar="'PATH PATH...'",
    ),
    Option("perf_packages", "", "packages whose versions are recorded", _words, metavar="NAMES"),
    Option(
        "perf_server_url",
        "",
        "measure the service that runs there, with the load that --perf-cells names and no more; "
        f"its API key stands in the variable {KEY_VARIABLE}",
        metavar="URL",
        is_for_one_run=True,
    ),
    Option(
        "perf_server_ca",
        "",
        "certificates to trust at that URL instead of the system's",
        metavar="FILE",
        is_for_one_run=True,
    ),
    Option(
        "perf_pairs",
        "4 6 9 14 22",
        "numbers of pairs of fresh processes after which a comparison is judged",
        _looks,
        metavar="'N N...'",
    ),
    Option(
        "perf_burst_seconds", "0.25", "time of load in a burst of a comparison", _number(0.05, 600), metavar="SECONDS"
    ),
    Option("perf_blocks", "4", "blocks of four bursts for a cell in a pair", _whole_number(2, 1000), metavar="N"),
    Option("perf_load_engine", "builtin", "the program that makes a closed loop's load", choices=("builtin", "locust")),
    Option("perf_locust_workers", "2", "Locust workers that are started here", _whole_number(0, 1000), metavar="N"),
    Option("perf_locust_remote_workers", "0", "Locust workers that others start", _whole_number(0, 1000), metavar="N"),
    Option(
        "perf_locust_bind",
        "",
        "where remote Locust workers find the master; empty for 127.0.0.1",
        _address,
        metavar="HOST:PORT",
    ),
)
SWITCHES = (
    Switch("perf_strict", "INCONCLUSIVE and NO_BASELINE fail, too (for CI)"),
    Switch("perf_same_env", "run the other checkout in this environment even if its lock file differs"),
    Switch(
        "perf_accept",
        f"measure at least {MIN_ACCEPTED_PROCESSES} fresh processes and store them as this machine's baseline",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup(
        "servegate",
        "performance gate (--benchmark-compare judges against the stored baseline, --perf-versus against a commit; "
        "the ini file may set other defaults)",
    )
    for option in OPTIONS:
        group.addoption(
            option.flag,
            dest=option.name,
            default=None,
            metavar="|".join(option.choices) or option.metavar,
            help=option.description.replace("%", "%%"),
        )
        if not option.is_for_one_run:
            parser.addini(option.name, option.description)
    for switch in SWITCHES:
        group.addoption(switch.flag, dest=switch.name, action="store_true", help=switch.help)


def is_any_given(config: pytest.Config) -> bool:
    """Whether the command line has an option of the gate, or asks for a comparison."""
    names = [option.name for option in OPTIONS]
    return (
        any(config.getoption(name) is not None for name in names)
        or any(config.getoption(switch.name) for switch in SWITCHES)
        or bool(config.getoption("benchmark_compare", None))
    )


def performance_paths(config: pytest.Config) -> list[str]:
    """The arguments of this run that lead to performance tests."""
    paths, _ = PATHS.read(config)
    folders = [(config.rootpath / path).resolve() for path in paths]
    # A project without performance tests, as `pytest` alone in its root, measures nothing.
    folders = [folder for folder in folders if folder.exists()]
    return [argument for argument in config.args if _lies_in(file_of_argument(argument).resolve(), folders)]


def advise(config: pytest.Config, command: str) -> str:
    """What to write instead of a command line that leads to no performance test."""
    paths, _ = PATHS.read(config)
    if any((config.rootpath / path).exists() for path in paths):
        return f"write: {command}"
    return (
        f"perf_paths ({' '.join(paths)}) are looked for below this run's root, {config.rootpath}; "
        "leave out --rootdir and -c, or let them name those of the project"
    )


def file_of_argument(argument: str) -> Path:
    """The path of `perf_tests/test_api.py::test_api[8]`."""
    return Path(argument.partition("::")[0])


def _lies_in(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in folders)

"""The gate's options: what each is called, its default, and how it is parsed. Each has a twin in pytest.ini."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from servegate.load.deployed import KEY_VARIABLE

MIN_ACCEPTED_PROCESSES = 8


@dataclass(frozen=True)
class Option:
    """An option with its ini twin: `--perf-some-name` and `perf_some_name`."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def flag(self) -> str:
        """As on the command line."""
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


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return text == "yes"


def _engine(text: str) -> str:
    if text not in ("builtin", "locust"):
        raise ValueError("must be builtin or locust")
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdecimal()):
        raise ValueError("must look like 0.0.0.0:5557")
    return text


def _looks(text: str) -> tuple[int, ...]:
    looks = tuple(int(part) for part in text.split())
    if not looks or looks[0] < 2 or any(one >= other for one, other in pairwise(looks)):
        raise ValueError("must be whole numbers that rise, from 2 on, as in: 3 5 8 12 20")
    return looks


CELLS = Option("perf_cells", "", "what is measured, as in: model=1,8,32,64 api=1,8,32,64", _cells)
OPTIONS = (
    CELLS,
    Option("perf_informing", "", "groups that are shown but not judged", lambda text: tuple(text.split())),
    Option("perf_paths", "perf_tests", "folders with performance tests", lambda text: tuple(text.split())),
    Option("perf_baselines", "perf_tests/baselines", "folder of the stored baselines", Path),
    Option("perf_report", "perf-report", "folder that a run's report is written to; empty for none", str),
    Option("perf_history", "", "folder that keeps each run's results, for `servegate trend`; empty for none", str),
    Option("perf_processes", "3", "fresh processes that measure each cell", _whole_number(1, 1000)),
    Option("perf_seconds", "5", "seconds of measuring for a cell in a process", _number(0.1, 3600)),
    Option("perf_warmup_seconds", "1", "seconds of load before measuring a cell", _number(0, 600)),
    Option("perf_margin_percent", "3", "smallest change of throughput that is accused", _number(0.1, 90)),
    Option("perf_error_percent", "1", "how often a run of identical code may be accused", _number(0.01, 50)),
    Option("perf_pairs", "3 5 8 12 20", "after how many pairs of fresh processes a comparison is judged", _looks),
    Option("perf_confirm", "yes", "compare side by side with the baseline's commit what it can't clear", _yes_or_no),
    Option("perf_burst_seconds", "0.25", "seconds of load in a burst of a comparison", _number(0.05, 600)),
    Option("perf_blocks", "8", "blocks of four bursts for a cell in a pair", _whole_number(2, 1000)),
    Option("perf_budget_minutes", "30", "minutes after which a group's comparison ends", _number(0, 6000)),
    Option("perf_load_engine", "builtin", "what makes the load of a closed loop: builtin or locust", _engine),
    Option("perf_locust_workers", "2", "Locust workers that are started here", _whole_number(0, 1000)),
    Option("perf_locust_remote_workers", "0", "Locust workers that others start", _whole_number(0, 1000)),
    Option("perf_locust_bind", "", "HOST:PORT where they find the master; empty for 127.0.0.1", _address),
    Option("perf_service", "service", "folder of the service that is measured", str),
    Option("perf_lock", "requirements.lock", "file that pins the service's packages", str),
    Option("perf_packages", "", "packages whose versions are recorded", lambda text: tuple(text.split())),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("servegate", "performance gate (compare with --benchmark-compare)")
    for option in OPTIONS:
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
        "--perf-server-url",
        default=None,
        metavar="URL",
        help="measure the service that runs there, with the load that --perf-cells names and no more; "
        f"its API key stands in the variable {KEY_VARIABLE}",
    )
    group.addoption(
        "--perf-server-ca",
        default=None,
        metavar="FILE",
        help="certificates to trust at that URL instead of the system's",
    )
    group.addoption(
        "--perf-accept",
        action="store_true",
        help=f"measure at least {MIN_ACCEPTED_PROCESSES} fresh processes and store them as this machine's baseline",
    )

"""Command lines that would measure nothing or nonsense are refused, with the right command in the message."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.session.settings import GateSettings

_PROC = Path("/proc/self/stat")


def check_usage(config: pytest.Config, settings: GateSettings) -> None:
    """Refuse command lines that would measure nothing or nonsense, with the right command.

    Raises
    ------
    SettingsError
        When the compare option swallowed a path, when performance tests would run in parallel or disabled, or where
        processes can't be observed.
    """
    compare = config.getoption("benchmark_compare", None)
    if isinstance(compare, str) and _file_of(compare).exists():
        raise SettingsError(
            f"--benchmark-compare took the path {compare!r} as its value; write: pytest {compare} --benchmark-compare"
        )
    paths = performance_paths(config, settings)
    if not paths:
        if settings.mode_option:
            folder = " ".join(os.path.relpath(path, settings.root) for path in settings.paths)
            raise SettingsError(
                f"{settings.mode_option} without a performance test; write: pytest {folder} {settings.mode_option}"
            )
        return
    if sys.platform == "linux" and not _PROC.exists():
        raise SettingsError(
            f"{_PROC} isn't there: without it nobody knows what CPU time a service takes, nor what a killed run has "
            "left; mount /proc"
        )
    command = " ".join(["pytest", *paths, *filter(None, [settings.mode_option])])
    if getattr(config.option, "numprocesses", None) or getattr(config.option, "dist", "no") != "no":
        raise SettingsError(f"performance tests run one after the other; write: {command}  (without -n and --dist)")
    for name in ("benchmark_disable", "benchmark_skip"):
        if config.getoption(name, False):
            flag = "--" + name.replace("_", "-")
            raise SettingsError(f"{flag} would measure nothing; write: {command}  (without {flag})")
    if config.getoption("benchmark_compare_fail", None):
        raise SettingsError(
            f"--benchmark-compare-fail judges by another rule; write: {command}  (without --benchmark-compare-fail)"
        )
    if isinstance(compare, str):
        raise SettingsError(
            f"--benchmark-compare={compare}: the baseline of this machine is found by itself; write: {command}"
        )


def performance_paths(config: pytest.Config, settings: GateSettings) -> list[str]:
    """The arguments of this run that lead to performance tests."""
    return [argument for argument in config.args if _lies_in(_file_of(argument), settings.paths)]


def _file_of(argument: str) -> Path:
    """The path of `perf_tests/test_api.py::test_api[8]`."""
    return Path(argument.partition("::")[0])


def _lies_in(path: Path, folders: Sequence[Path]) -> bool:
    path, folders = path.resolve(), [folder.resolve() for folder in folders]
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in folders)

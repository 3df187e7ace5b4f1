"""Command lines that would measure nothing or nonsense are refused, with the right command in the message."""

import os
import signal
import sys
from pathlib import Path

import pytest

from servegate.errors import SettingsError
from servegate.options.performance_paths import (
    advise,
    file_of_argument,
    performance_paths,
    runs_in_parallel,
    write_without_xdist,
)
from servegate.options.settings import Settings

_PROC = Path("/proc/self/stat")


def check_command_line(config: pytest.Config, settings: Settings) -> None:
    """Refuse command lines that would measure nothing or nonsense, with the right command.

    Raises
    ------
    SettingsError
        When the compare option swallowed a path, when performance tests would run in parallel or disabled, or where
        processes can't be paused or observed.
    """
    compare = config.getoption("benchmark_compare", None)
    if isinstance(compare, str) and file_of_argument(compare).exists():
        raise SettingsError(
            f"--benchmark-compare took the path {compare!r} as its value; write: pytest {compare} --benchmark-compare"
        )
    paths = performance_paths(config)
    if not paths:
        if settings.mode_option:
            folder = " ".join(os.path.relpath(path, settings.root) for path in settings.files.paths)
            raise SettingsError(
                f"{settings.mode_option} without a performance test; "
                + advise(config, f"pytest {folder} {settings.mode_option}")
            )
        return
    _check_platform()
    _check_service(settings)
    command = " ".join(["pytest", *paths, *filter(None, [settings.mode_option])])
    if not config.pluginmanager.hasplugin("benchmark"):
        raise SettingsError(
            f"performance tests report by pytest-benchmark; write: {command}  (without -p no:benchmark)"
        )
    # Where -k or -m chooses, there may be none of them left; if there is one, it fails by itself.
    if runs_in_parallel(config) and not (config.option.keyword or config.option.markexpr):
        raise SettingsError(f"performance tests run one after the other; write: {write_without_xdist(config, command)}")
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


def _check_service(settings: Settings) -> None:
    """Comparisons and baselines are by what is committed of the service, so it must be there."""
    service = settings.project.service
    if settings.mode_option and settings.measuring.deployed is None and not (settings.root / service).exists():
        raise SettingsError(
            f"perf_service = {service}: there is no such folder or file in {settings.root}; "
            "name the one with the service's code, as in perf_service = server.py"
        )


def _check_platform() -> None:
    if not hasattr(signal, "SIGSTOP"):
        raise SettingsError(
            f"servegate pauses the processes that it compares, which {sys.platform} can't do; "
            "run performance tests on Linux or macOS"
        )
    if sys.platform == "linux" and not _PROC.exists():
        raise SettingsError(
            f"{_PROC} isn't there: without it servegate can't see what CPU time a service takes, nor what a killed "
            "run has left; mount /proc"
        )

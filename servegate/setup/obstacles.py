"""Finds obstacles to a measurement on this machine and in this project, and says how to remove each."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from servegate.errors import CheckoutError
from servegate.setup.collected import Collected
from servegate.setup.project import find_carried, read_service_code
from servegate.setup.server_code import imported_modules, read_texts
from servegate.storage.commits import has_path
from servegate.storage.git import run_git
from servegate.telemetry.outside_load import read_cpu

_WATCHED_S = 1.0
# Cores that other programs may use before they are reported.
_QUIET_CORES = 0.2
_BLAS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def find_obstacles(collected: Collected) -> list[str]:
    """Find all obstacles, a sentence for each."""
    settings = collected.settings
    root, project = settings.root, settings.project
    tests = [path.relative_to(root) for path in settings.files.paths if path.is_relative_to(root)]
    return [
        *find_load(),
        *find_machine_limits(Path("/sys")),
        *find_proxy(os.environ),
        *find_in_repository(root, {"service": [Path(project.service)], "performance tests": tests}),
        *find_in_code(root, PurePosixPath(project.service), project.carried, os.environ),
    ]


def find_load() -> Iterator[str]:
    """Watch for a moment how much CPU time other programs use."""
    before = read_cpu()
    time.sleep(_WATCHED_S)
    busy = read_cpu().outside_cores_since(before)
    if busy > _QUIET_CORES:
        yield (
            f"other programs use {busy:.1f} cores now: end them, or measure when they are done; "
            "the promise above holds for a machine that is as busy as now"
        )


def find_machine_limits(sys_folder: Path) -> Iterator[str]:
    """Look at clocks, threads and quotas.

    Parameters
    ----------
    sys_folder:
        The folder in which Linux describes them, /sys.
    """
    cpu = sys_folder / "devices" / "system" / "cpu"
    governor = _read(cpu / "cpu0" / "cpufreq" / "scaling_governor")
    if governor not in ("", "performance"):
        yield (
            f"the frequency governor is {governor!r}, so that a core's speed follows its load: "
            "`cpupower frequency-set --governor performance` makes it steady"
        )
    if _read(cpu / "smt" / "active") == "1":
        yield (
            "two threads share each core (SMT), so that a second process slows the first: "
            "`echo off > /sys/devices/system/cpu/smt/control` switches that off until the next boot"
        )
    quota, _, period = _read(sys_folder / "fs" / "cgroup" / "cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        yield (
            f"this container may use {int(quota) / int(period):.2g} cores and is stopped when it has: "
            "give it whole cores (docker --cpuset-cpus) instead of a quota (--cpus)"
        )


def find_proxy(environment: Mapping[str, str]) -> Iterator[str]:
    """Look for a proxy that would take requests to this machine, too."""
    proxy = next((name for name in _PROXIES if environment.get(name)), None)
    if proxy and "127.0.0.1" not in environment.get("no_proxy", environment.get("NO_PROXY", "")):
        yield (
            f"the variable {proxy} names a proxy. servegate goes past it to 127.0.0.1, but a `describe` of your own "
            "may not: add 127.0.0.1 to no_proxy"
        )


def find_in_repository(root: Path, needed: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """Look at the clone and its last commit.

    Parameters
    ----------
    needed:
        Paths from the project's root, by what they hold; a commit without any of them can't be compared with.
    """
    if run_git(root, "rev-parse", "--is-shallow-repository") == "true":
        yield "this clone is shallow, so that older commits can't be compared with: git fetch --unshallow"
    try:
        head = run_git(root, "rev-parse", "--verify", "HEAD")
    except CheckoutError:
        yield "there is no commit yet, and a comparison needs one: git commit"
        return
    for what, paths in needed.items():
        if not any(has_path(root, head, path) for path in paths):
            yield (
                f"the last commit has no {what} ({' '.join(map(str, paths))}), so that there is nothing to compare "
                "with: commit them first"
            )


def find_in_code(
    root: Path, service: PurePosixPath, carried: Sequence[str], environment: Mapping[str, str]
) -> Iterator[str]:
    """Look at the texts and imports of the service's code.

    Parameters
    ----------
    service:
        The service's file or folder, from the project's root.
    carried:
        The paths that `perf_carry` names.
    """
    trees = read_service_code(root, service)
    given = {name.rstrip("/") for name in carried}
    missing = [name for name in find_carried(root, trees) if name.rstrip("/") not in given]
    if missing:
        yield (
            f"git ignores {', '.join(missing)}, which the code names: neither side of a comparison gets it unless the "
            f"ini file names it, as perf_carry = {' '.join([*carried, *missing])}"
        )
    is_limited = any(environment.get(name) for name in _BLAS) or bool(read_texts(trees) & set(_BLAS))
    if "numpy" in imported_modules(trees) and not is_limited:
        yield (
            "numpy computes with a thread for each core, which wait for each other where cores are taken: "
            'HttpService(..., environment={"OPENBLAS_NUM_THREADS": "1"}) in the performance tests ends that'
        )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""  # another system, or a kernel without it

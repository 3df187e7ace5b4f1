"""Fingerprint of the machine that measures."""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from loky import cpu_count

from perfgate.gpus import driver_version, open_gpus
from perfgate.records import Fingerprint

_CPUINFO = Path("/proc/cpuinfo")


def read_fingerprint(packages: Sequence[str], settings: Mapping[str, str]) -> Fingerprint:
    """Look at this machine.

    Parameters
    ----------
    packages:
        Names of distributions whose versions are recorded.
    settings:
        What else is recorded, by name.
    """
    with open_gpus() as gpus:
        gpu_names = [gpu.name for gpu in gpus]
    details = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        **({"driver": version} if (version := driver_version()) else {}),
        **{package: _version(package) for package in packages},
        **settings,
    }
    return Fingerprint(
        cpu_model=_cpu_model(),
        usable_cores=cpu_count(),
        gpu_name=" + ".join(sorted(set(gpu_names))) or None,
        gpu_count=len(gpu_names),
        details=details,
    )


def _cpu_model() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"

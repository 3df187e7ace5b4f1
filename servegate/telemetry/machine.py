"""Fingerprint of the machine that measures."""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from loky import cpu_count

from servegate.records import Fingerprint
from servegate.telemetry.gpu_facts import describe_gpus
from servegate.telemetry.gpus import driver_version, open_gpus

_CPUINFO = Path("/proc/cpuinfo")


def read_fingerprint(packages: Sequence[str], settings: Mapping[str, str]) -> Fingerprint:
    """Read the fingerprint of this machine.

    Parameters
    ----------
    packages:
        Names of distributions whose versions are recorded.
    settings:
        Other details to record, by name.
    """
    with open_gpus() as gpus:
        gpu_names = [gpu.name for gpu in gpus]
        gpu_facts = describe_gpus(gpus)
    details = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        **({"driver": version} if (version := driver_version()) else {}),
        **gpu_facts,
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


_ARM = ("CPU implementer", "CPU part", "CPU variant")


def _cpu_model() -> str:
    """Linux's name of the first CPU, with its family and model: a hypervisor may call two generations by one name."""
    if _CPUINFO.exists():
        first_cpu, _, _ = _CPUINFO.read_text().partition("\n\n")
        facts = {
            key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first_cpu.splitlines())
        }
        if name := facts.get("model name"):
            generation = [f"{key.removeprefix('cpu ')} {facts[key]}" for key in ("cpu family", "model") if key in facts]
            return f"{name} ({' '.join(generation)})" if generation else name
        # Linux on ARM has no name, but the numbers of who made it and which it is.
        if arm := [f"{key.removeprefix('CPU ')} {facts[key]}" for key in _ARM if key in facts]:
            return f"{platform.machine()} ({' '.join(arm)})"
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"

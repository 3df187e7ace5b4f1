"""Says where pyproject.toml, the lock files and what the packages import don't agree; needs no network.

python -m tools.check_dependencies
"""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dependency_groups import resolve
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_SERVEGATE = ("dependencies", "report", "trend", "locust")
# By the names of extras and dependency groups: what the Makefile compiles each lock from, what a package may import.
_LOCKS = {
    "requirements.lock": ("service",),
    "requirements-gate.lock": (*_SERVEGATE, "perf-tests"),
    "requirements-dev.lock": ("dev",),
}
_PACKAGES = {"service": ("service",), "servegate": _SERVEGATE}
_UNPINNED = {"pip"}  # it installs the others
_LINUX = {"sys_platform": "linux", "platform_system": "Linux"}
_MACOS = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}


def find_problems(root: Path) -> list[str]:
    """A sentence for each thing that isn't as it should be in the checkout at `root`."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text())
    problems = []
    for lock, sources in _LOCKS.items():
        problems += [f"{lock} {problem}" for problem in _check_lock(root / lock, _declared(pyproject, sources))]
    for package, sources in _PACKAGES.items():
        undeclared = _imported(root / package) - {_name(requirement) for requirement in _declared(pyproject, sources)}
        problems += [f"{package} imports {name}, which pyproject.toml doesn't name" for name in sorted(undeclared)]
    return problems


def _declared(pyproject: Mapping[str, Any], sources: Iterable[str]) -> list[Requirement]:
    project = pyproject["project"]
    of_project = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    groups = pyproject["dependency-groups"]
    return [
        Requirement(line)
        for source in sources
        for line in (of_project[source] if source in of_project else resolve(groups, source))
    ]


def _check_lock(lock: Path, requirements: list[Requirement]) -> Iterator[str]:
    pins = {_name(pin): pin for pin in _read_pins(lock)}
    needed = _close(requirements, _LINUX)
    for name in sorted(needed.keys() - pins.keys() - _UNPINNED):
        yield f"has no {name}: make lock"
    for name in sorted(pins.keys() - needed.keys()):
        yield f"has {name}, which nothing needs: make lock"
    for name in sorted(pins.keys() & needed.keys()):
        version = str(pins[name].specifier).removeprefix("==")
        if not needed[name].contains(version, prereleases=True):
            yield f"has {name} {version}, where {needed[name]} is wanted: make lock"
    elsewhere = {name for name, pin in pins.items() if _applies(pin, _MACOS)}
    for name in sorted(elsewhere - _close(requirements, _MACOS).keys()):
        yield f"has {name} for every platform: name it in requirements-linux.txt, make lock"


def _read_pins(lock: Path) -> list[Requirement]:
    lines = lock.read_text().splitlines()
    return [Requirement(line.removesuffix("\\")) for line in lines if line and line[0] not in "# "]


def _close(requirements: Iterable[Requirement], platform: Mapping[str, str]) -> dict[str, SpecifierSet]:
    """List the packages that requirements need on a platform, directly or not, by the installed metadata."""
    needed: dict[str, SpecifierSet] = {}
    seen = set()
    waiting = [requirement for requirement in requirements if _applies(requirement, platform)]
    while waiting:
        requirement = waiting.pop()
        name = _name(requirement)
        needed[name] = needed.get(name, SpecifierSet()) & requirement.specifier
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [other for other in _requirements_of(name) if _applies(other, {**platform, "extra": extra})]
    return needed


@cache
def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        return []  # the lock lacks it, too, which is told


def _applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": "", **environment})


def _imported(package: Path) -> set[str]:
    """The distributions of others that a package's modules import."""
    modules = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    others = modules - sys.stdlib_module_names - {package.name}
    return {canonicalize_name(_distributions().get(module, [module])[0]) for module in others}


_distributions = cache(metadata.packages_distributions)


def _name(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def main() -> None:
    """Print the problems; exit status 1 if there are any."""
    problems = find_problems(Path())
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()

"""Find the performance tests on a command line."""

from pathlib import Path

import pytest

from servegate.options.catalogue import PATHS


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

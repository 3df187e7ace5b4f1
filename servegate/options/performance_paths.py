"""Find the performance tests on a command line, and whether it asks for them."""

from pathlib import Path

import pytest

from servegate.options.catalogue import PATHS

# An option that begins like this on the command line asks for performance tests, whatever its paths are.
_ASKING = ("--perf-", "--benchmark-compare", "--benchmark-only")
_OF_XDIST = ("-n", "--numprocesses", "--dist")


def asks_for_performance(config: pytest.Config) -> bool:
    """Whether the command line names performance tests, or has an option that only they have.

    `pytest` alone, a folder around them and the ini file's `addopts` don't ask: those are in every run.
    """
    if any(str(argument).startswith(_ASKING) for argument in config.invocation_params.args):
        return True
    if config.args_source is not config.ArgsSource.ARGS:
        return False
    folders = _folders(config)
    paths = [file_of_argument(argument).resolve() for argument in config.args]
    return any(path.is_relative_to(folder) for path in paths for folder in folders)


def performance_paths(config: pytest.Config) -> list[str]:
    """Return the arguments of this run that lead to performance tests."""
    folders = _folders(config)
    return [argument for argument in config.args if _lies_in(file_of_argument(argument).resolve(), folders)]


def advise(config: pytest.Config, command: str) -> str:
    """Say which command to write instead of one that leads to no performance test."""
    paths, _ = PATHS.read(config)
    if any((config.rootpath / path).exists() for path in paths):
        return f"write: {command}"
    return (
        f"perf_paths ({' '.join(paths)}) are looked for below this run's root, {config.rootpath}; "
        "leave out --rootdir and -c, or let them name those of the project"
    )


def name_folders(config: pytest.Config) -> str:
    """Return the folders of performance tests, as `perf_paths` names them."""
    paths, _ = PATHS.read(config)
    return " ".join(paths)


def file_of_argument(argument: str) -> Path:
    """The path of `perf_tests/test_api.py::test_api[8]`."""
    return Path(argument.partition("::")[0])


def runs_in_parallel(config: pytest.Config) -> bool:
    """Whether pytest-xdist distributes the tests; also in one of its workers."""
    option = config.option
    return (
        hasattr(config, "workerinput")
        or bool(getattr(option, "numprocesses", None))
        or getattr(option, "dist", "no") != "no"
    )


def write_without_xdist(config: pytest.Config, command: str) -> str:
    """A command that runs its tests one after the other, where this one doesn't."""
    typed = any(str(argument).startswith(_OF_XDIST) for argument in config.invocation_params.args)
    return f"{command}  (without -n and --dist)" if typed else f"{command} -n 0 --dist no"


def _folders(config: pytest.Config) -> list[Path]:
    """The folders that exist: where there are none, `pytest` alone leads to no performance test."""
    paths, _ = PATHS.read(config)
    folders = [(config.rootpath / path).resolve() for path in paths]
    return [folder for folder in folders if folder.exists()]


def _lies_in(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in folders)

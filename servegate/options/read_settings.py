"""Read and check the gate's settings, once: from the command line, the ini file and the defaults."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from servegate.errors import SettingsError
from servegate.judging.absolute.latency_limits import LatencyLimits
from servegate.load.deployed import Deployed
from servegate.load.engines import LoadEngine
from servegate.measure.pair_plan import Schedule
from servegate.options import catalogue
from servegate.options.allowance import Allowance
from servegate.options.catalogue import CELLS, MIN_ACCEPTED_PROCESSES
from servegate.options.cells import Cells, name_groups_and_cells
from servegate.options.hidden_settings import refuse_hidden_settings
from servegate.options.settings import FileSettings, JudgingSettings, MeasuringSettings, ProjectSettings, Settings
from servegate.storage.environments import EnvironmentRecipe

_PYPROJECT = "pyproject.toml"
# Lock files of other tools, with a command that makes an environment of them in {folder}.
_NOT_FOR_PIP = {
    "uv.lock": "UV_PROJECT_ENVIRONMENT={folder} uv sync --frozen --no-install-project",
    "poetry.lock": "python -m venv {folder} && VIRTUAL_ENV={folder} poetry install --no-root",
    "pdm.lock": "python -m venv {folder} && VIRTUAL_ENV={folder} pdm sync --no-self",
    "Pipfile.lock": "python -m venv {folder} && VIRTUAL_ENV={folder} pipenv sync",
}


def read_settings(config: pytest.Config) -> Settings:
    """Read and check the settings.

    Raises
    ------
    SettingsError
        For a wrong value, with its source, or for options that contradict each other.
    """
    refuse_hidden_settings(config)
    read = _read_options(config)
    value = {name: parsed for name, (parsed, _) in read.items()}
    cells = _all_cells(config, value["perf_cells"])
    # The ini file may name cells of its own that this run's command line leaves out.
    names = name_groups_and_cells(cells) | name_groups_and_cells(CELLS.read_ini(config)[0])
    versus = value["perf_versus"] or None
    is_judged = bool(config.getoption("benchmark_compare", None)) or versus is not None
    is_accepting, is_strict = bool(config.getoption("perf_accept")), bool(config.getoption("perf_strict"))
    if is_accepting and is_judged:
        raise SettingsError("--perf-accept stores a baseline; leave out --benchmark-compare and --perf-versus")
    if is_strict and not is_judged:
        raise SettingsError("--perf-strict judges nothing without --benchmark-compare or --perf-versus")
    deployed = _deployed(config, value["perf_server_url"], value["perf_server_ca"], versus)
    engine = LoadEngine(
        value["perf_load_engine"],
        value["perf_locust_workers"],
        value["perf_locust_remote_workers"],
        value["perf_locust_bind"],
        value["perf_load_processes"],
    )
    engine.require()
    root = config.rootpath
    return Settings(
        root=root,
        cells=cells,
        informing=_informing(*read["perf_informing"], cells),
        selected_groups=None if config.getoption(CELLS.name) is None else frozenset(value["perf_cells"]),
        is_accepting=is_accepting,
        measuring=MeasuringSettings(
            processes=_processes(*read["perf_processes"], is_accepting=is_accepting),
            seconds=value["perf_seconds"],
            warmup_seconds=value["perf_warmup_seconds"],
            engine=engine,
            deployed=deployed,
            waits=value["perf_other_run"] == "wait",
        ),
        judging=JudgingSettings(
            is_judged=is_judged,
            is_strict=is_strict,
            versus=versus,
            confirm=value["perf_confirm"] and deployed is None,
            margin=value["perf_margin_percent"][0],
            margins=_margins(*read["perf_margin_percent"], names),
            allowances=_allowances(*read["perf_allow"], cells),
            figures=_figures(*read["perf_figures"], names),
            latency_limits=_latency_limits(read["perf_slow_ms"], read["perf_slow_percent"], names),
            error_level=value["perf_error_percent"] / 100,
            looks=value["perf_pairs"],
            schedule=Schedule(value["perf_burst_seconds"], value["perf_blocks"], value["perf_turn_seconds"]),
            budget_s=value["perf_budget_minutes"] * 60,
        ),
        files=FileSettings(
            paths=tuple(root / path for path in value["perf_paths"]),
            baselines=root / value["perf_baselines"],
            report=root / value["perf_report"] if value["perf_report"] else None,
            history=root / value["perf_history"] if value["perf_history"] else None,
        ),
        project=ProjectSettings(
            service=value["perf_service"],
            packages=value["perf_packages"],
            recipe=_recipe(*read["perf_lock"], value["perf_environment"], bool(config.getoption("perf_same_env"))),
            carried=value["perf_carry"],
        ),
    )


def _read_options(config: pytest.Config) -> dict[str, tuple[Any, str]]:
    """Each option's value and where it came from; all wrong values are told at once."""
    read, wrong = {}, []
    for option in catalogue.OPTIONS:
        try:
            read[option.name] = option.read(config)
        except SettingsError as error:
            wrong.append(str(error))
    if wrong:
        raise SettingsError("\n".join(wrong))
    return read


def _margins(margins: tuple[float, Mapping[str, float]], source: str, names: frozenset[str]) -> Mapping[str, float]:
    _, named = margins
    _check_names(named, source, names)
    return named


def _allowances(allowances: tuple[Allowance, ...], source: str, cells: Cells) -> tuple[Allowance, ...]:
    for allowance in allowances:
        fault = allowance.find_fault(cells)
        if fault is not None:
            raise SettingsError(f"{source}: {allowance.name} {fault}")
    return allowances


def _figures(margins: Mapping[str, float | None], source: str, names: frozenset[str]) -> Mapping[str, float | None]:
    _check_names([where for name in margins if (where := name.rpartition(".")[0])], source, names)
    return margins


def _check_names(named: Iterable[str], source: str, names: frozenset[str]) -> None:
    unknown = sorted(set(named) - names)
    if unknown:
        raise SettingsError(f"{source}: {', '.join(unknown)} is no group or cell of perf_cells, as api or api[64]")


def _latency_limits(
    slow_ms: tuple[Mapping[str, float], str], percents: tuple[Mapping[str, float], str], names: frozenset[str]
) -> LatencyLimits:
    for named, source in (slow_ms, percents):
        _check_names([name for name in named if name], source, names)
    for name in percents[0]:
        if not _can_be_slow(name, slow_ms[0]):
            where = f" of {name}" if name else ""
            message = f"perf_slow_percent{where} needs perf_slow_ms; set that, too, as in: 250"
            raise SettingsError(f"{percents[1]}: {message}")
    return LatencyLimits(slow_ms[0], {name: percent / 100 for name, percent in percents[0].items()})


def _can_be_slow(name: str, slow_ms: Iterable[str]) -> bool:
    """Whether a limit is set for what is named, or for a part of it; the empty name means all."""
    group, _, _ = name.partition("[")
    return any(not name or other in ("", group, name) or other.startswith(f"{name}[") for other in slow_ms)


def _recipe(lock: str, source: str, command: str, is_shared: bool) -> EnvironmentRecipe:
    """Refuse a lock that pip can't read at once, before the day on which it first differs between two commits."""
    name = lock.rpartition("/")[2]
    if not command and not is_shared:
        if name == _PYPROJECT:
            raise SettingsError(
                f"{source}={lock!r}: it names packages but pins none, and changes with whatever else stands in it; "
                "name a lock file, or write perf_lock with nothing after it, so that both sides share this environment"
            )
        if name in _NOT_FOR_PIP:
            raise SettingsError(
                f"{source}={lock!r}: pip can't install it; name the command that makes an environment of it, "
                f"as in: perf_environment = {_NOT_FOR_PIP[name]}"
            )
    return EnvironmentRecipe(lock, command, is_shared)


def _processes(asked: int, source: str, *, is_accepting: bool) -> int:
    if not is_accepting:
        return asked
    if asked < MIN_ACCEPTED_PROCESSES and source.startswith("--"):
        raise SettingsError(f"{source}={asked}: a baseline needs at least {MIN_ACCEPTED_PROCESSES} fresh processes")
    return max(asked, MIN_ACCEPTED_PROCESSES)


def _deployed(config: pytest.Config, url: str, ca_file: str, versus: str | None) -> Deployed | None:
    if not url:
        if ca_file:
            raise SettingsError("--perf-server-ca is for a service elsewhere; name that with --perf-server-url")
        return None
    if versus is not None:
        raise SettingsError("--perf-versus starts two services here; leave out --perf-server-url")
    if config.getoption(CELLS.name) is None:
        raise SettingsError(
            "--perf-server-url loads a service that others may use: name the load, as in --perf-cells 'api=1,8'"
        )
    return Deployed.from_options(url, ca_file or None)


def _all_cells(config: pytest.Config, named: Cells) -> Cells:
    """The command line replaces the groups that it names and leaves the others as the ini file has them."""
    cells, _ = CELLS.read_ini(config)
    unknown = [group for group in named if cells and group not in cells]
    if unknown:
        raise SettingsError(f"{CELLS.flag}: there is no group {unknown[0]!r}, only {', '.join(map(repr, cells))}")
    return {**cells, **named}


def _informing(groups: Sequence[str], source: str, cells: Mapping[str, object]) -> frozenset[str]:
    for group in groups:
        if group not in cells:
            raise SettingsError(f"{source}: there is no group {group!r}, only {', '.join(map(repr, cells))}")
    return frozenset(groups)

"""The contents of the files that `servegate init` writes. They are short, and the user maintains them from then on."""

import re
from collections.abc import Mapping, Sequence
from keyword import iskeyword

from servegate.load.expected import Json, Lines, Text
from servegate.setup.answers import Exchange
from servegate.setup.project import Project

_WIDTH = 120
# Names that the performance tests use themselves.
_TAKEN = frozenset({"pytest", "service"})
# The checkout action of GitHub, pinned by its commit: a tag may be moved.
_CHECKOUT = "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2"

_TESTS = '''\
"""The service is not slower than the commit that it is compared with, and every answer is right."""
{imports}
import pytest

from servegate.api import {names}

service = HttpService({service})
{targets}


@pytest.mark.perf_target({groups})
def test_service(perf_cell):
    perf_cell.check()
'''

_WORKFLOW = """\
# Measures each pull request and push beside the commit that it builds on. docs/ci.md of servegate tells about runners,
# and shows the workflow that writes a comment on the pull request and keeps the figures of pushes.
name: performance

on:
  push:
    branches: [{branch}]
  pull_request:

permissions: {{}}

# One at a time: two would measure each other.
concurrency:
  group: performance
  queue: max

jobs:
  measure:
    name: measure
    runs-on: ubuntu-latest
    timeout-minutes: 60
    permissions:
      contents: read
    steps:
      - uses: {checkout}
        with:
          fetch-depth: 0 # a comparison needs the other commit
          persist-credentials: false
      - uses: {action}
        with:
          install: {install}
{project}"""


def name_groups(exchanges: Sequence[Exchange]) -> Mapping[str, Exchange]:
    """Name a group for each endpoint: `api` for the only one, else the last part of its path."""
    if len(exchanges) == 1:
        return {"api": exchanges[0]}
    names: dict[str, Exchange] = {}
    for exchange in exchanges:
        words = re.findall(r"[a-z0-9]+", exchange.request.path.lower())
        name = "_".join(words[-1:]) or "api"
        is_free = name[0].isalpha() and name not in {*names, *_TAKEN} and not iskeyword(name)
        names[name if is_free else "_".join(["api", *words])] = exchange
    return names


def performance_tests(project: Project, groups: Mapping[str, Exchange]) -> str:
    """The file with the performance tests."""
    service = [_as_list(project.command)]
    if project.environment:
        service.append(f"environment={_literal(dict(project.environment))}")
    if project.code.health_path != "/health":
        service.append(f"health_path={_literal(project.code.health_path)}")
    needs_path = any(exchange.request.file is not None for exchange in groups.values())
    answers = {type(found.expected).__name__ for found in groups.values() if not isinstance(found.expected, Json)}
    return _TESTS.format(
        imports="\nfrom pathlib import Path\n" if needs_path else "",
        service=", ".join(service),
        targets="\n".join(_target(name, exchange) for name, exchange in groups.items()),
        groups=", ".join(groups),
        names=", ".join(sorted(["HttpService", "HttpTarget", "Workload", *answers])),
    )


def _target(name: str, exchange: Exchange) -> str:
    request = exchange.request
    path = _literal(request.path)
    body = f"(Path(__file__).parent.parent / {_literal(request.file)}).read_bytes()"
    if request.file is None:
        make, sent = "Workload.from_json", [path, _literal(request.document)]
    elif request.field is not None:
        upload = f"({_literal(request.file_name)}, {body}, {_literal(request.content_type)})"
        make, sent = "Workload.multipart", [path, f"{{{_literal(request.field)}: {upload}}}"]
    else:
        make, sent = "Workload", [path, body, _literal({"Content-Type": request.content_type})]
    arguments = [*sent, *_expected(exchange.expected)]
    workload = f"{make}({', '.join(arguments)})"
    line = f'{name} = HttpTarget("{name}", service, {workload})'
    if len(line) <= _WIDTH:
        return line
    if len(f'    "{name}", service, {workload}') <= _WIDTH:
        return f'{name} = HttpTarget(\n    "{name}", service, {workload}\n)'
    if len(f"    {workload},") > _WIDTH:
        lines = "".join(f"        {argument},\n" for argument in arguments)
        workload = f"{make}(\n{lines}    )"
    return f'{name} = HttpTarget(\n    "{name}",\n    service,\n    {workload},\n)'


def _expected(answer: Json | Lines | Text) -> list[str]:
    """The arguments that name the right answer."""
    match answer:
        case Json(document, tolerance):
            return [f"expected={_literal(document)}", *([f"tolerance={tolerance:g}"] if tolerance else [])]
        case Lines(documents, tolerance):
            within = f", tolerance={tolerance:g}" if tolerance else ""
            return [f"expected=Lines({_literal(list(documents))}{within})"]
        case Text(text):
            return [f"expected=Text({_literal(text)})"]


def _literal(value: object) -> str:
    """Write a value as Python source, with double quotes where that needs no escape."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    return _as_list(value) if isinstance(value, list) else repr(value)


def _as_list(values: Sequence[object]) -> str:
    return "[" + ", ".join(map(_literal, values)) + "]"


def ini_values(
    project: Project, groups: Mapping[str, Exchange], concurrencies: str, tests: str | None
) -> dict[str, str | list[str]]:
    """The settings for pytest's ini file, without those that equal servegate's defaults.

    Parameters
    ----------
    concurrencies:
        Numbers of connections, as in `1,8`.
    tests:
        The folder of the project's other tests; None if there is none.
    """
    values = {
        "testpaths": [tests] if tests else None,
        "perf_cells": " ".join(f"{name}={concurrencies}" for name in groups),
        "perf_service": project.service if project.service != "service" else None,
        "perf_lock": project.lock if project.lock != "requirements.lock" else None,
        "perf_environment": project.make_environment,
        "perf_carry": " ".join(project.carried),
        "perf_packages": " ".join(project.packages),
    }
    return {name: value for name, value in values.items() if value}


def workflow(action: str, project: Project, folder: str, branch: str) -> str:
    """GitHub's workflow that measures each pull request, and each push to a branch.

    Parameters
    ----------
    action:
        servegate's repository and a commit or tag of it, as OWNER/servegate@COMMIT.
    folder:
        The project's folder in its repository; empty for the repository itself.
    """
    where = f"          project: {folder}\n" if folder else ""
    return _WORKFLOW.format(checkout=_CHECKOUT, branch=branch, action=action, install=_install(project), project=where)


def _install(project: Project) -> str:
    """The command that installs the service's packages into an environment that is active."""
    match project.lock:
        case "uv.lock":
            return "pip install uv && uv sync --active --frozen"
        case "poetry.lock":
            return "pip install poetry && poetry install"
        case None:
            return "pip install ." if (project.root / "pyproject.toml").exists() else "pip install litserve"
        case _:
            return f"pip install -r {project.lock}"

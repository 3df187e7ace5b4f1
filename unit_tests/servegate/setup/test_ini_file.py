"""Tests of the file that pytest reads a project's settings from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servegate.setup.ini_file import IniFile


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({}, "pytest.ini"),
        ({"pyproject.toml": "[project]\nname = 'x'\n"}, "pyproject.toml"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\n", "pytest.ini": "[pytest]\n"}, "pytest.ini"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\n", "tox.ini": "[pytest]\n"}, "pyproject.toml"),
        ({"tox.ini": "[tox]\n\n[pytest]\n"}, "tox.ini"),
        ({"tox.ini": "[tox]\n"}, "pytest.ini"),
        ({"setup.cfg": "[metadata]\n[tool:pytest]\naddopts = -v\n"}, "setup.cfg"),
        ({"pytest.toml": "[pytest]\n", "pytest.ini": "[pytest]\n"}, "pytest.toml"),
        ({"pyproject.toml": "[tool.pytest]\n"}, "pyproject.toml"),
        ({"pyproject.toml": "[ tool.pytest.ini_options ]  # of the tests\n"}, "pyproject.toml"),
        ({"pytest.ini": "# empty\n", "tox.ini": "[pytest]\n"}, "pytest.ini"),
    ],
)
def test_pytest_reads_what_is_written(tmp_path: Path, files: dict[str, str], chosen: str) -> None:
    """Pytest itself reports that it reads this file, and the values that were written."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ini = IniFile.find(tmp_path)
    ini.add({"perf_cells": "api=1,8", "testpaths": ["tests"]})
    assert ini.path == tmp_path / chosen
    (tmp_path / "conftest.py").write_text(
        "def pytest_report_header(config):\n"
        '    return f\'{config.inipath} {config.getini("testpaths")} {config.getini("perf_cells")}\'\n'
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "servegate.plugin", "--collect-only"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    shown = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False).stdout
    assert f"{tmp_path / chosen} ['tests'] api=1,8" in shown


def test_what_stands_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "pytest.ini"
    file.write_text("# first\n[pytest]\naddopts = -q\nperf_margin_percent = 3\n\n[other]\nperf_cells = no\n")
    assert IniFile.find(tmp_path).add({"perf_margin_percent": "2", "perf_cells": "api=1"}) == ["perf_cells = api=1"]
    assert file.read_text().splitlines() == [
        "# first",
        "[pytest]",
        "perf_cells = api=1",
        "addopts = -q",
        "perf_margin_percent = 3",
        "",
        "[other]",
        "perf_cells = no",
    ]


def test_nothing_is_written_when_all_is_there(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nperf_cells = api=1")
    assert not IniFile.find(tmp_path).add({"perf_cells": "api=8"})
    assert (tmp_path / "pytest.ini").read_text() == "[pytest]\nperf_cells = api=1"

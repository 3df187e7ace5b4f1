"""Options: declared once, with an ini twin that is a string or a TOML list, and a default in `--help`."""

import re

import pytest

from servegate.errors import SettingsError
from servegate.options.catalogue import OPTIONS, SWITCHES
from servegate.options.option import Option
from servegate.options.read_settings import read_settings


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\nperf_cells = model=1,8 api=1\nperf_pairs = 3 5\nperf_processes = 4\n"),
        ("pytest.ini", "[pytest]\nperf_cells =\n    model=1,8\n    api=1\nperf_pairs = 3 5\nperf_processes = 4\n"),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\nperf_cells = "model=1,8 api=1"\nperf_pairs = "3 5"\nperf_processes = "4"\n',
        ),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\nperf_cells = ["model=1,8", "api=1"]\nperf_pairs = [3, 5]\nperf_processes = 4\n',
        ),
        (
            "pyproject.toml",
            '[tool.pytest]\nperf_cells = ["model=1,8", "api=1"]\nperf_pairs = [3, 5]\nperf_processes = 4\n',
        ),
        ("pyproject.toml", '[tool.pytest]\nperf_cells = "model=1,8 api=1"\nperf_pairs = "3 5"\nperf_processes = "4"\n'),
    ],
)
def test_a_toml_list_is_read_as_a_string_is(pytester: pytest.Pytester, file: str, text: str) -> None:
    (pytester.path / file).write_text(text)
    settings = read_settings(pytester.parseconfig())
    assert settings.cells == {"model": (1, 8), "api": (1,)}
    assert settings.judging.looks == (3, 5)
    assert settings.measuring.processes == 4


@pytest.mark.parametrize("table", ["tool.pytest.ini_options", "tool.pytest"])
def test_a_wrong_toml_list_is_a_sentence(pytester: pytest.Pytester, table: str) -> None:
    (pytester.path / "pyproject.toml").write_text(f'[{table}]\nperf_cells = ["model", "api=1"]\n')
    with pytest.raises(SettingsError, match=r"perf_cells in .*pyproject.toml='model api=1': must look like"):
        read_settings(pytester.parseconfig())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_default_is_a_value_that_the_option_allows(option: Option) -> None:
    option.parse_from(option.default, "the default")


def test_help_shows_every_option_with_its_default(pytester: pytest.Pytester) -> None:
    shown = re.sub(r"\s+", " ", pytester.runpytest("--help").stdout.str())
    for option in OPTIONS:
        assert f"{option.flag}=" in shown
        if option.default:
            assert f"(default: {option.default})" in shown
        assert option.is_for_one_run or f"{option.name} (string)" in shown
    for switch in SWITCHES:
        assert f" {switch.flag} " in shown

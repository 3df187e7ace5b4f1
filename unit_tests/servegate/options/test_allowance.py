"""A slowdown on purpose: how it is written, on the command line and in a commit's message."""

import pytest

from servegate.errors import SettingsError
from servegate.options.allowance import Allowance, find_in_messages, parse_allowances
from unit_tests.builders.gate_settings import read_settings


@pytest.mark.parametrize(
    ("text", "allowances"),
    [
        ("", ()),
        ("api: up to 5 %: stronger checks", (Allowance("api", 0.05, "stronger checks"),)),
        (" api[64] : up to 2.5%:a: `b` ", (Allowance("api[64]", 0.025, "a: 'b'"),)),
        (
            "api: up to 5 %: checks; model: up to 10 %: float32;",
            (Allowance("api", 0.05, "checks"), Allowance("model", 0.1, "float32")),
        ),
    ],
)
def test_it_names_what_may_be_slower_by_how_much_and_why(text: str, allowances: tuple[Allowance, ...]) -> None:
    assert parse_allowances(text) == allowances


@pytest.mark.parametrize(
    "text",
    [
        "api",
        "api: 5 %: checks",
        "api: up to 5 %",
        "api: up to 5 %: ",
        "api: up to many %: checks",
        ": up to 5 %: checks",
        "a b: up to 5 %: checks",
        "api[x]: up to 5 %: checks",
        "api: up to 5 %: checks; model",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="must look like: api: up to 5 %: stronger checks"):
        parse_allowances(text)


@pytest.mark.parametrize("percent", ["0", "0.0", "90", "400"])
def test_nothing_and_everything_can_not_be_allowed(percent: str) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 90"):
        parse_allowances(f"api: up to {percent} %: checks")


def test_the_command_line_allows_only_what_is_measured(pytester: pytest.Pytester) -> None:
    settings = read_settings(pytester, "--perf-allow=api[32]: up to 5 %: checks")
    assert settings.judging.allowances == (Allowance("api[32]", 0.05, "checks"),)
    with pytest.raises(SettingsError, match="--perf-allow: apj is no group or cell of perf_cells"):
        read_settings(pytester, "--perf-allow=apj: up to 5 %: checks")


def test_in_a_message_it_is_a_line_of_its_own() -> None:
    message = "Check more\n\nperf-allow: api: up to 5 %: a  \nSee Perf-allow: none\n  Perf-allow: none\nPerf-allow:b\n"
    assert find_in_messages(message) == ["api: up to 5 %: a", "b"]

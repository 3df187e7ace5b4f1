"""A slowdown on purpose: how it is written, on the command line and in a commit's message."""

import re

import pytest

from servegate.errors import SettingsError
from servegate.options.allowance import Allowance, find_in_messages, parse_allowances
from unit_tests.builders.gate_settings import read_settings


@pytest.mark.parametrize(
    ("text", "allowances"),
    [
        ("", ()),
        ("api: up to 5 %: stronger checks", (Allowance("api", 5.0, "%", "stronger checks"),)),
        (" api[64] : up to 2.5%:a: `b` ", (Allowance("api[64]", 2.5, "%", "a: 'b'"),)),
        ("photo[phone]: up to 5 %: checks", (Allowance("photo[phone]", 5.0, "%", "checks"),)),
        ("api.growth: up to 20 KB: a cache", (Allowance("api.growth", 20.0, "KB", "a cache"),)),
        (
            "api: up to 5 %: checks; model: up to 10 %: float32;",
            (Allowance("api", 5.0, "%", "checks"), Allowance("model", 10.0, "%", "float32")),
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
        "api[1 2]: up to 5 %: checks",
        "api: up to 5 MB: checks",
        "api: up to 5 %: checks; model",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="must look like: api: up to 5 %: stronger checks"):
        parse_allowances(text)


def test_nothing_can_not_be_allowed() -> None:
    with pytest.raises(ValueError, match="must allow more than nothing"):
        parse_allowances("api: up to 0.0 %: checks")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("api[32]: up to 5 %: checks", None),
        ("api: up to 89 %: checks", None),
        ("api.memory: up to 150 %: a larger model", None),
        ("api.growth: up to 20 KB: a cache", None),
        ("apj: up to 5 %: checks", "apj is no group, cell or figure of perf_cells, as api, api[64] or api.memory"),
        ("api[64]: up to 5 %: checks", "api[64] is no group, cell or figure of perf_cells"),
        ("api.speed: up to 5 %: checks", "api.speed is no group, cell or figure of perf_cells"),
        ("api: up to 5 KB: checks", "api is allowed in %, not in KB"),
        ("api.growth: up to 5 %: a cache", "api.growth is allowed in KB, not in %"),
        ("api: up to 90 %: checks", "api may lose less than 90 %, not 90 %"),
    ],
)
def test_the_command_line_allows_only_what_is_judged(pytester: pytest.Pytester, text: str, fault: str | None) -> None:
    if fault is None:
        (allowance,) = read_settings(pytester, f"--perf-allow={text}").judging.allowances
        assert text.startswith(f"{allowance.name}: up to {allowance.limit:g} {allowance.unit}: ")
        return
    with pytest.raises(SettingsError, match=re.escape(f"--perf-allow: {fault}")):
        read_settings(pytester, f"--perf-allow={text}")


def test_in_a_message_it_is_a_line_of_its_own() -> None:
    message = "Check more\n\nperf-allow: api: up to 5 %: a  \nSee Perf-allow: none\n  Perf-allow: none\nPerf-allow:b\n"
    assert find_in_messages(message) == ["api: up to 5 %: a", "b"]

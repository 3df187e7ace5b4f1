"""Parsers of the options' texts; `test_settings.py` reads the others with their sources."""

import re

import pytest

from servegate.judging.figures.policy import DEFAULT_MARGINS
from servegate.options.values import figures, margins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", (0.02, {})),
        ("2.5 api=3 api[64]=4", (0.025, {"api": 0.03, "api[64]": 0.04})),
    ],
)
def test_margins_are_read_in_percent(text: str, expected: tuple[float, dict[str, float]]) -> None:
    assert margins(text) == expected


@pytest.mark.parametrize(
    "text", ["", "api=3", "2 api", "2 api=", "2 api[x y]=3", "2 =3", "0.05", "2 api=91", "2 api=nan"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (some are Python's own)
        margins(text)


def test_figures_have_their_own_margins_unless_others_are_set() -> None:
    assert figures("") == DEFAULT_MARGINS
    expected = {**DEFAULT_MARGINS, "cost": 8.0, "start": None, "api.tail": 30.0, "api[64].cost": None}
    assert figures("cost=8 start=off api.tail=30 api[64].cost=off") == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "speed=8",
            "must look like cost=8, api.tail=off or api[64].cost=off, "
            "with tail, lateness, first_piece, cost, memory, growth, start",
        ),
        ("cost", "must look like"),
        ("cost=", "must look like"),
        ("api..cost=8", "must look like"),
        ("cost=0", "must lie in"),
        ("cost=nan", "must lie in"),
        ("api[64].cost=8", "one cell can only be left out, with off"),
        ("api[64].start=off", "start is of the group's processes, and no cell is a part of it"),
        (".cost=8", "must look like"),
    ],
)
def test_a_wrong_figure_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        figures(text)

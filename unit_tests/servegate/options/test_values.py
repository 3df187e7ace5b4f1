"""Parsers of the options' texts; `test_settings.py` reads the others with their sources."""

import re

import pytest

from servegate.judging.figures.policy import DEFAULT_MARGINS
from servegate.options.values import by_name, figures, margins


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
            "with tail, lateness, first_piece, piece_gap, cost, memory, growth, start",
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("250", {"": 250.0}),
        ("photo=2000", {"photo": 2000.0}),
        ("250 photo=2000 api[64]=0.5 photo[a-b]=3", {"": 250.0, "photo": 2000.0, "api[64]": 0.5, "photo[a-b]": 3.0}),
    ],
)
def test_numbers_by_name_may_have_one_for_all_others(text: str, expected: dict[str, float]) -> None:
    assert by_name(0.5, 9000)(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("250 300", "each name once"),
        ("api=1 api=2", "each name once"),
        ("api==1", "must be a number, or look like"),
        ("api=", "could not convert"),
        ("fast", "could not convert"),
        ("9001", "must lie in 0.5..9000"),
        ("api=nan", "must lie in"),
    ],
)
def test_a_wrong_number_by_name_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        by_name(0.5, 9000)(text)

"""Parsers of the options' texts; `test_settings.py` reads the others with their sources."""

import pytest

from servegate.options.values import margins


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
    "text", ["", "api=3", "2 api", "2 api=", "2 api[x]=3", "2 =3", "0.05", "2 api=91", "2 api=nan"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (some are Python's own)
        margins(text)

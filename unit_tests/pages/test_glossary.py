"""docs/glossary.md has each term once, and the places in the code that it names exist."""

import re
from collections import Counter
from pkgutil import resolve_name

import pytest

from servegate.records import Status
from unit_tests.builders.pages import read_page

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in read_page("docs/glossary.md").splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| term |", "| verdict |"))
]


def test_a_term_stands_once() -> None:
    terms = Counter(re.split(r", | \(also: |\)", term)[0] for term, *_ in ROWS)
    assert [term for term, count in terms.items() if count > 1] == []


@pytest.mark.parametrize(
    "term",
    ["cell", "group", "pair", "arm", "checkout", "look", "block", "burst", "turn", "figure", "margin", "baseline"],
)
def test_a_term_of_a_comparison_is_there(term: str) -> None:
    assert [row for row, *_ in ROWS if re.search(rf"\b{term}\b", row)]


def test_every_verdict_is_there() -> None:
    assert {status.value for status in Status} <= {term for term, *_ in ROWS}


@pytest.mark.parametrize("place", [place.strip("`") for _, _, place in ROWS])
def test_a_place_in_the_code_exists(place: str) -> None:
    """A field of a dataclass without a default is no attribute of its class."""
    try:
        resolve_name(place)
    except AttributeError:
        owner, _, field = place.rpartition(".")
        assert field in resolve_name(owner).__dataclass_fields__

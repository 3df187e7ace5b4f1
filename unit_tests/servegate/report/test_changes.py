"""The page's first table and the scale of its plot."""

import pytest

from servegate.records import Status
from servegate.report.changes import Scale, find_scale, list_rows
from servegate.report.older_documents import complete
from unit_tests.builders.runs.findings import make_cell, make_group
from unit_tests.builders.runs.run_documents import document


def test_a_group_stands_above_its_cells_in_their_order() -> None:
    cells = [make_cell("b", 1), make_cell("a", 1), make_cell("b", 8), make_cell("latency", 1, Status.INFORMS)]
    rows = list_rows(document(cells, groups=[make_group("a"), make_group("b")]))
    assert [(row.name, row.place) for row in rows] == [
        ("b", "groups.1"),
        ("b[load=1]", "cells.0"),
        ("b[load=8]", "cells.2"),
        ("a", "groups.0"),
        ("a[load=1]", "cells.1"),
    ]


def test_a_group_shows_its_margin_and_a_cell_without_one_the_runs() -> None:
    cells = [make_cell("a"), make_cell("b")]
    rows = list_rows(document(cells, groups=[make_group("a")]))
    assert {row.name: row.margin for row in rows} == {"a": 0.02, "a[load=1]": None, "b[load=1]": 0.03}


def test_the_scale_has_room_for_intervals_margins_and_what_pass_excludes() -> None:
    cells = [make_cell("a", 1, change=(0.0, -0.01, 0.15)), make_cell("a", 8, excludes=0.2)]
    scale = find_scale(list_rows(document(cells, groups=[make_group("a")])))
    assert scale is not None
    assert scale.low == pytest.approx(-0.2 - 0.04 * 0.35)
    assert scale.high == pytest.approx(0.15 + 0.04 * 0.35)


def test_without_a_change_there_is_no_scale() -> None:
    assert find_scale(list_rows(document([make_cell()]))) is None
    assert list_rows(complete(document([make_cell("a", 1, Status.NOT_JUDGED)]))) == []


def test_changes_have_their_place_from_left_to_right() -> None:
    scale = Scale(-0.3, 0.1)
    assert [scale.place(change) for change in (-0.3, -0.1, 0.0, 0.1)] == [0.0, 50.0, 75.0, 100.0]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.11, 0.03, [-0.10, -0.05, 0.0]),
        (-0.021, 0.021, [-0.02, -0.01, 0.0, 0.01, 0.02]),
        (-0.2, 0.19, [-0.2, -0.1, 0.0, 0.1]),
        (-0.9, 12.0, [0.0, 5.0, 10.0]),
    ],
)
def test_ticks_are_round_and_few_and_zero_is_one(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high).ticks == pytest.approx(ticks)

"""The policy: margins of groups and cells, and the shares of the error level."""

import pytest

from servegate.judging.policy import Policy, Thresholds
from servegate.records import Cell

CELL = Cell("api", "concurrency", 64)


def near(accused_from: float, excluded: float) -> Thresholds:
    """Thresholds but for rounding."""
    return Thresholds(pytest.approx(accused_from), pytest.approx(excluded))  # type: ignore[arg-type]


def test_one_margin_sets_what_is_accused_and_what_pass_excludes() -> None:
    """A group is accused from half of it on and PASS excludes one and a half; a cell from 1.5 on, and five."""
    policy = Policy(margin=0.02)
    assert policy.of_group("api") == near(0.01, 0.03)
    assert policy.of_cell(CELL) == near(0.03, 0.10)


def test_a_group_and_a_cell_may_have_a_margin_of_their_own() -> None:
    policy = Policy(margin=0.02, margins={"api": 0.04, "api[64]": 0.08})
    assert policy.of_group("model") == near(0.01, 0.03)
    assert policy.of_group("api") == near(0.02, 0.06)
    assert policy.of_cell(Cell("api", "concurrency", 8)) == near(0.06, 0.20)
    assert policy.of_cell(CELL) == near(0.12, 0.40)
    assert (policy.margin_of("model"), policy.margin_of("api")) == (0.02, 0.04)


def test_a_cell_may_have_a_smaller_margin_than_its_group_also_by_a_name() -> None:
    policy = Policy(margins={"photo": 0.04, "photo[phone]": 0.02})
    assert policy.of_cell(Cell("photo", "kind", "phone")) == near(0.03, 0.10)
    assert policy.of_cell(Cell("photo", "kind", "small")) == near(0.06, 0.20)
    assert policy.of_group("photo") == near(0.02, 0.06)


def test_no_threshold_is_more_than_all() -> None:
    """A margin so wide that nothing fails, as to try the way through a run."""
    policy = Policy(margin=0.9)
    assert policy.of_group("api") == near(0.45, 0.99)
    assert policy.of_cell(CELL) == near(0.99, 0.99)


def test_groups_have_four_fifths_of_the_error_level_and_cells_the_rest() -> None:
    """All of them together have it whole."""
    policy = Policy(error_level=0.005, groups=2, cells=8)
    assert policy.group_error_level == pytest.approx(0.002)
    assert policy.cell_error_level == pytest.approx(0.000125)
    assert 2 * policy.group_error_level + 8 * policy.cell_error_level == pytest.approx(0.005)


def test_all_looks_together_spend_what_a_verdict_may_err() -> None:
    """In proportion to the pairs; a budget that ends between two looks leaves the rest to the last."""
    policy = Policy(looks=(4, 5, 7, 10, 15, 22))
    shares = [policy.look_share(pairs, last=False) for pairs in (4, 5, 7, 10, 15)]
    assert shares == pytest.approx([4 / 22, 1 / 22, 2 / 22, 3 / 22, 5 / 22])
    assert policy.look_share(22, last=True) == pytest.approx(7 / 22)
    assert policy.look_share(8, last=True) == pytest.approx((22 - 7) / 22)
    assert policy.look_share(2, last=True) == 1

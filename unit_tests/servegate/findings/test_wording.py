"""How shares and names are written."""

import pytest

from servegate.findings.wording import enumerate_names, first_line, write_figure, write_range, write_share


@pytest.mark.parametrize(
    ("share", "text"), [(0.03, "3 %"), (0.0942, "9.4 %"), (0.0948, "9.5 %"), (0.1, "10 %"), (1.234, "123.4 %")]
)
def test_a_share_has_a_digit_after_the_point_where_it_is_not_zero(share: float, text: str) -> None:
    assert write_share(share) == text


@pytest.mark.parametrize(("share", "text"), [(0.09, "9.0"), (0.9994, "99.9"), (0.9996, "100"), (2.5, "250")])
def test_an_end_of_an_interval_has_always_one_below_100(share: float, text: str) -> None:
    assert write_figure(share) == text


def test_a_range_of_two_equal_ends_is_one_figure() -> None:
    assert write_range(0.037, 0.054) == "3.7 to 5.4 %"
    assert write_range(0.0370, 0.0371) == "3.7 %"


def test_names_are_enumerated() -> None:
    assert [enumerate_names(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_a_log_below_a_reason_is_left_out() -> None:
    assert first_line("wrong\n--- its log ---") == "wrong"

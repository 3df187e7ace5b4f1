"""Write shares and lists of names in a sentence."""

from collections.abc import Sequence


def write_share(share: float) -> str:
    """In percent with a digit after the point where it isn't zero, as in `9.4 %` and `3 %`."""
    return f"{round(100 * share, 1):g} %"


def write_figure(share: float) -> str:
    """Write it in percent; below 100 with one decimal digit, so that both ends of an interval have the same form."""
    return f"{100 * share:.1f}" if abs(share) < 0.9995 else f"{100 * share:.0f}"


def write_range(low: float, high: float) -> str:
    """Write a range as `3.7 to 5.4 %`."""
    ends = dict.fromkeys((write_figure(low), write_figure(high)))
    return f"{' to '.join(ends)} %"


def quote(name: str) -> str:
    """Mark a name as one, as Markdown does it."""
    return f"`{name}`"


def enumerate_names(names: Sequence[str]) -> str:
    """Write a list as `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def first_line(text: str) -> str:
    """The first line of a reason: a log's tail may follow it."""
    return text.partition("\n")[0]

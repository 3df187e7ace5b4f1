"""Write shares and lists of names in a sentence."""

from collections.abc import Sequence


def write_share(share: float) -> str:
    """Write a share in percent, with a digit after the point unless that is zero: `9.4 %`, but `3 %`."""
    return f"{round(100 * share, 1):g} %"


def write_figure(share: float) -> str:
    """Write a share in percent without the sign: as `9.4` with a digit after the point, from 100 on without one."""
    return f"{100 * share:.1f}" if abs(share) < 0.9995 else f"{100 * share:.0f}"


def write_range(low: float, high: float) -> str:
    """Write a range as `3.7 to 5.4 %`."""
    ends = dict.fromkeys((write_figure(low), write_figure(high)))
    return f"{' to '.join(ends)} %"


def quote(name: str) -> str:
    """Put a name in backticks, which Markdown shows as code."""
    return f"`{name}`"


def enumerate_names(names: Sequence[str]) -> str:
    """Write a list as `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def first_line(text: str) -> str:
    """Return a reason's first line; the lines after it may be the end of a log."""
    return text.partition("\n")[0]

"""Parsers of the options' texts: each returns the value, or raises ValueError and says what the text must look like."""

import re
from collections.abc import Callable
from itertools import pairwise

from servegate.judging.figures.kinds import FIGURE_KINDS, MEMORY, START
from servegate.judging.figures.policy import DEFAULT_MARGINS

_MOST_LOAD_PROCESSES = 64
# It matches the name of a group or of one of its cells, and nothing at all.
_NAME = r"([^\s=\[\]]+(\[[\w-]+\])?)?"


def number(low: float, high: float) -> Callable[[str], float]:
    """Make a parser of numbers within limits."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"must lie in {low:g}..{high:g}")
        return value

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Make a parser of whole numbers within limits."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"must lie in {low}..{high}")
        return value

    return parse


def load_processes(text: str) -> int | None:
    """Read a number of client processes; None for `auto`."""
    if text == "auto":
        return None
    if not (text.isdecimal() and 1 <= int(text) <= _MOST_LOAD_PROCESSES):
        raise ValueError(f"must be auto or a whole number from 1 to {_MOST_LOAD_PROCESSES}")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """Read words between spaces."""
    return tuple(text.split())


def cells(text: str) -> dict[str, tuple[int | str, ...]]:
    """Read `model=1,8 photo=phone` as {"model": (1, 8), "photo": ("phone",)}."""
    found: dict[str, tuple[int | str, ...]] = {}
    for part in text.split():
        group, equals, values = part.partition("=")
        if not (group and equals and values) or group in found:
            raise ValueError("must look like model=1,8 api=1,8,32, each group once")
        read = [_value(value) for value in values.split(",")]
        known = [value for value in read if value is not None]
        if len(set(known)) < len(read) or len({type(value) for value in known}) > 1:
            raise ValueError(f"the values of {group!r} must be different whole numbers above 0, or different names")
        found[group] = tuple(known)
    return found


def _value(text: str) -> int | str | None:
    """A whole number above 0 or a name; None for anything else."""
    if text.isdecimal():
        return int(text) or None
    return text if re.fullmatch(r"[A-Za-z][\w-]*", text) else None


def address(text: str) -> str:
    """Read HOST:PORT, or nothing."""
    host, colon, port = text.rpartition(":")
    if text and not (host and colon and port.isdecimal()):
        raise ValueError("must look like 0.0.0.0:5557")
    return text


def looks(text: str) -> tuple[int, ...]:
    """Read rising numbers of pairs."""
    pairs = tuple(int(part) for part in text.split())
    if not pairs or pairs[0] < 2 or any(one >= other for one, other in pairwise(pairs)):
        raise ValueError("must be whole numbers that rise, from 2 on, as in: 4 5 7 10 15 22")
    return pairs


def figures(text: str) -> dict[str, float | None]:
    """Read `cost=8 api.tail=off api[64].cost=off`: margins of figures in their units, None for those that are off.

    Raises
    ------
    ValueError
        For anything else, for a figure that doesn't exist, and for a margin that isn't above zero.
    """
    names = [kind.name for kind in FIGURE_KINDS]
    margins = dict(DEFAULT_MARGINS)
    for part in text.split():
        name, _, margin = part.partition("=")
        where, _, kind = name.rpartition(".")
        if (
            kind not in names
            or not margin
            or name.startswith(".")
            or not re.fullmatch(r"[^\s=.\[\]]*(\[[^\s=\[\]]+\])?", where)
        ):
            raise ValueError(
                f"{part!r} must look like cost=8, api.tail=off or api[64].cost=off, with {', '.join(names)}"
            )
        if "[" in where and kind in (MEMORY.name, START.name):
            raise ValueError(f"{part!r}: {kind} is of the group's processes, and no cell is a part of it")
        if "[" in where and margin != "off":
            raise ValueError(f"{part!r}: a figure is of a group; one cell can only be left out, with off")
        margins[name] = None if margin == "off" else number(1e-9, 1e9)(margin)
    return margins


def by_name(low: float, high: float) -> Callable[[str], dict[str, float]]:
    """Make a parser of `250 photo=2000 api[64]=800`: numbers within limits by name, the one for all others under ""."""

    def parse(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in text.split():
            name, _, value = part.rpartition("=")
            if not re.fullmatch(_NAME, name) or name in found:
                raise ValueError(f"{part!r} must be a number, or look like api=250 or api[64]=250, each name once")
            found[name] = number(low, high)(value)
        return found

    return parse


def margins(text: str) -> tuple[float, dict[str, float]]:
    """Read `2 api=3 api[64]=4`, in percent: the margin of all, and those of groups and cells as shares.

    Raises
    ------
    ValueError
        For anything else, and for a margin outside 0.1 to 90 %.
    """
    shares = {name: percent / 100 for name, percent in by_name(0.1, 90)(text).items()}
    if "" not in shares:
        raise ValueError("must have a number for all groups, as in: 2 api=3 api[64]=4")
    return shares.pop(""), shares

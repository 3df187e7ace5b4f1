"""A slowdown that is accepted on purpose, with its reason: `api: up to 5 %: stronger checks`."""

import re
from dataclasses import dataclass

_FORM = re.compile(r"(?P<name>[^\s:\[\]]+(\[\d+\])?)\s*:\s*up to (?P<percent>\d+(\.\d+)?)\s*%\s*:\s*(?P<reason>\S.*)")
_EXAMPLE = "api: up to 5 %: stronger checks"
_IN_MESSAGE = re.compile(r"^perf-allow:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Allowance:
    """What may become slower, by how much, and why.

    Attributes
    ----------
    name:
        A group, as `api`, or a cell, as `api[64]`.
    limit:
        The largest slowdown that is allowed, as a share of throughput.
    reason:
        Without backticks: between two of them it is text wherever it is shown, and names no user and no issue.
    """

    name: str
    limit: float
    reason: str

    def __str__(self) -> str:
        return f"up to {100 * self.limit:g} %: `{self.reason}`"


def parse_allowances(text: str) -> tuple[Allowance, ...]:
    """Read allowances, between semicolons.

    Raises
    ------
    ValueError
        For anything else, and for a limit of 90 % or more.
    """
    return tuple(_parse(part.strip()) for part in text.split(";") if part.strip())


def find_in_messages(messages: str) -> list[str]:
    """The texts of the lines `Perf-allow: ...` in messages of commits."""
    return [text.strip().replace("`", "'") for text in _IN_MESSAGE.findall(messages)]


def _parse(text: str) -> Allowance:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"must look like: {_EXAMPLE}; a cell is named as api[64], and semicolons part several")
    limit = float(found["percent"]) / 100
    if not 0 < limit < 0.9:
        raise ValueError("the percentage must lie between 0 and 90")
    return Allowance(found["name"], limit, found["reason"].replace("`", "'"))

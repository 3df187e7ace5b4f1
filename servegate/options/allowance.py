"""A change for the worse that is accepted on purpose, with its reason: `api: up to 5 %: stronger checks`."""

import re
from dataclasses import dataclass

from servegate.judging.figures.kinds import FIGURE_KINDS
from servegate.options.cells import Cells, name_groups_and_cells

_FORM = re.compile(
    r"(?P<name>[^\s:\[\]]+(\[[^\s\[\]]+\])?)\s*:\s*up to (?P<limit>\d+(\.\d+)?)\s*(?P<unit>%|KB)\s*:\s*(?P<reason>\S.*)"
)
_EXAMPLE = "api: up to 5 %: stronger checks"
_IN_MESSAGE = re.compile(r"^perf-allow:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
_UNITS = {kind.name: kind.unit for kind in FIGURE_KINDS}
_MOST_OF_THROUGHPUT = 90


@dataclass(frozen=True)
class Allowance:
    """One throughput or figure that may become worse, by how much, and why.

    Attributes
    ----------
    name:
        A group, as `api`, or a cell, as `api[64]`, whose throughput may fall; or a figure of a group that may grow, as
        `api.memory`.
    limit, unit:
        The largest change that is allowed.
    reason:
        The reason, without backticks: it is shown between two of them, where GitHub reads no user or issue in it.
    """

    name: str
    limit: float
    unit: str
    reason: str

    def __str__(self) -> str:
        return f"up to {self.limit:g} {self.unit}: `{self.reason}`"

    def find_fault(self, cells: Cells) -> str | None:
        """Explain why it can allow nothing in a run that measures these groups; None where it can."""
        group, _, figure = self.name.rpartition(".")
        if self.name in name_groups_and_cells(cells):
            unit = "%"
        elif group in cells and figure in _UNITS:
            unit = _UNITS[figure]
        else:
            return "is no group, cell or figure of perf_cells, as api, api[64] or api.memory"
        if self.unit != unit:
            return f"is allowed in {unit}, not in {self.unit}"
        if figure not in _UNITS and self.limit >= _MOST_OF_THROUGHPUT:
            return f"may lose less than {_MOST_OF_THROUGHPUT} %, not {self.limit:g} %"
        return None


def parse_allowances(text: str) -> tuple[Allowance, ...]:
    """Read allowances, between semicolons.

    Raises
    ------
    ValueError
        For anything else.
    """
    return tuple(_parse(part.strip()) for part in text.split(";") if part.strip())


def find_in_messages(messages: str) -> list[str]:
    """The texts of the lines `Perf-allow: ...` in messages of commits."""
    return [text.strip().replace("`", "'") for text in _IN_MESSAGE.findall(messages)]


def _parse(text: str) -> Allowance:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"must look like: {_EXAMPLE}; a cell is named as api[64], and semicolons part several")
    if float(found["limit"]) == 0:
        raise ValueError("must allow more than nothing")
    return Allowance(found["name"], float(found["limit"]), found["unit"], found["reason"].replace("`", "'"))

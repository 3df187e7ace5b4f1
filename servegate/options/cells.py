"""The groups that a run measures, with the values of their cells, and what an option may name of them."""

from collections.abc import Mapping

# As in {"api": (1, 8), "photo": ("phone", "screenshot")}.
Cells = Mapping[str, tuple[int | str, ...]]


def name_groups_and_cells(cells: Cells) -> frozenset[str]:
    """Groups, as `api`, and cells, as `api[64]`."""
    return frozenset((*cells, *(f"{group}[{value}]" for group, values in cells.items() for value in values)))

"""Describe the load that a service gets in one cell."""

from collections.abc import Callable
from typing import NamedTuple

from servegate.load.workload import Requests
from servegate.records import Cell


class CellLoad(NamedTuple):
    """The load of one cell.

    Attributes
    ----------
    connections:
        The connections that send the requests; in an open loop the most that are open at a time.
    percent_of_capacity:
        The rate at which the requests come in an open loop, as a share of what the service can answer over so many
        connections; None for a closed loop.
    """

    requests: Requests
    connections: int
    percent_of_capacity: float | None = None


LoadOf = Callable[[Cell], CellLoad]

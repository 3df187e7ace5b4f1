"""The load that a pair of fresh processes gets: for how long, in which order, and which cells."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from servegate.records import Cell

# Turns of each arm for a cell in a pair. At a given rate a turn takes seconds, so there is one.
TURNS_OF_AN_ARM = 2
TURNS_AT_GIVEN_RATE = 1


@dataclass(frozen=True)
class Schedule:
    """The schedule by which a pair is measured.

    Attributes
    ----------
    burst_s:
        Seconds of load in a burst; longer where an arm needs that, see `BurstLoad.shortest_burst_s`.
    blocks:
        Blocks of four bursts for each cell in a pair.
    turn_s:
        Seconds of load in a turn; longer where an arm needs that, see `BurstLoad.shortest_turn_s`.
    """

    burst_s: float
    blocks: int
    turn_s: float = 1.0


@dataclass(frozen=True)
class PairPlan:
    """The load of a pair of fresh processes; without any they only start.

    Attributes
    ----------
    bursts, turns:
        The cells that are loaded in bursts, and those that are loaded in turns.
    """

    bursts: Sequence[Cell]
    turns: Sequence[Cell]

    @property
    def cells(self) -> list[Cell]:
        """All cells that are loaded."""
        return list(dict.fromkeys([*self.bursts, *self.turns]))


def balanced_blocks(blocks: int, order: random.Random) -> list[str]:
    """`blocks` times ABBA or BAAB in random order, as many of one as of the other; if odd, one more of either."""
    kinds = order.sample(["ABBA", "BAAB"], 2) * math.ceil(blocks / 2)
    return order.sample(kinds[:blocks], blocks)

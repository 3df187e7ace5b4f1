"""The figures that a comparison judges beside throughput: each declared once. More of any of them is worse."""

from dataclasses import dataclass

_KILOBYTE, _MEGABYTE = 1e3, 1e6


@dataclass(frozen=True)
class FigureKind:
    """One figure of a group's fresh processes.

    Attributes
    ----------
    name:
        The figure's name in settings, in the ids of tests and in `results.json`.
    meaning:
        A description of the figure for the report's reader.
    grew, shrank:
        The predicate of a sentence about a change, as in "takes {} longer to start"; `{}` stands for its size.
    value_unit, value_scale:
        The unit that a value is shown in, and its size in the value's natural unit.
    margin:
        The smallest change that is accused unless the settings say otherwise, in the unit.
    error_share:
        Its share of the run's error level.
    unit:
        The unit of its change. With `%`, head and base are compared by their ratio, else by their difference.
    scale:
        The size of one unit of the change, in the value's natural unit; 0.01 for percent.
    is_paired:
        Whether it follows the machine's speed, which changes within a run. What both processes of a pair have in common
        then cancels: the paired t test judges it, as it judges throughput. Others are judged by the ranks of processes.
    """

    name: str
    meaning: str
    grew: str
    shrank: str
    value_unit: str
    margin: float
    error_share: float
    unit: str = "%"
    scale: float = 0.01
    value_scale: float = 1.0
    is_paired: bool = False

    @property
    def is_relative(self) -> bool:
        """Whether head and base are compared by their ratio."""
        return self.unit == "%"

    def write(self, change: float) -> str:
        """Write a change that is given in the scale of the values, as in `+4.2 %`."""
        return write_change(change / self.scale, self.unit)


def write_change(change: float, unit: str) -> str:
    """Write a change with its sign and a digit after the point where it isn't zero, as in `+4.2 %`."""
    return f"{round(change, 1) + 0.0:+g} {unit}"


@dataclass(frozen=True)
class GroupFigure:
    """One figure of one group, as in `api tail`: what a test reports."""

    group: str
    kind: FigureKind

    def __str__(self) -> str:
        return f"{self.group} {self.kind.name}"


TAIL = FigureKind(
    "tail",
    "the slowest request of half a second, against the others",
    "answers its slowest requests {} later",
    "answers its slowest requests {} sooner",
    value_unit="times",
    margin=20.0,
    error_share=0.075,
)
LATENESS = FigureKind(
    "lateness",
    "the slowest request of half a second, at a rate that the load sets",
    "answers requests that come at random {} later",
    "answers requests that come at random {} sooner",
    value_unit="ms",
    margin=20.0,
    error_share=0.05,
)
FIRST_PIECE = FigureKind(
    "first_piece",
    "time to the first piece of a streamed answer",
    "begins to answer {} later",
    "begins to answer {} sooner",
    value_unit="ms",
    margin=20.0,
    error_share=0.0375,
)
PIECE_GAP = FigureKind(
    "piece_gap",
    "the longest wait between two pieces of a streamed answer",
    "pauses {} longer within an answer",
    "pauses {} less within an answer",
    value_unit="ms",
    margin=20.0,
    error_share=0.0375,
)
COST = FigureKind(
    "cost",
    "CPU time of the service for one unit",
    "uses {} more CPU time a unit",
    "uses {} less CPU time a unit",
    value_unit="ms",
    margin=5.0,
    error_share=0.1,
    is_paired=True,
)
MEMORY = FigureKind(
    "memory",
    "memory of the service's processes before their load",
    "needs {} more memory",
    "needs {} less memory",
    value_unit="MB",
    value_scale=_MEGABYTE,
    margin=5.0,
    error_share=0.05,
)
GROWTH = FigureKind(
    "growth",
    "memory that the service keeps of each unit",
    "keeps {} more of each unit",
    "keeps {} less of each unit",
    unit="KB",
    scale=_KILOBYTE,
    value_unit="KB",
    value_scale=_KILOBYTE,
    margin=5.0,
    error_share=0.05,
)
START = FigureKind(
    "start",
    "time from the start of the service to its first right answer",
    "takes {} longer to start",
    "takes {} less time to start",
    value_unit="s",
    margin=10.0,
    error_share=0.1,
)
FIGURE_KINDS = (TAIL, LATENESS, FIRST_PIECE, PIECE_GAP, COST, MEMORY, GROWTH, START)
OF_STREAMS = (FIRST_PIECE, PIECE_GAP)
# Waits show in them, so they are measured in turns.
IN_TURNS = frozenset({TAIL, *OF_STREAMS})

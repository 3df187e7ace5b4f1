"""Pause a server between bursts, so that its queued work takes little time from the other arm's burst.

SIGSTOP stops the threads of a server. It doesn't stop a GPU, which goes on with the kernels that the server has queued.
Let T be the length of a burst and l the work in flight at its end, both in seconds. The GPU does an arm's own l while
the arm stands still, and the other arm's l during the arm's burst. So the GPU works T + own l - other l for an arm in
each burst. A head that is slower by a small share s has an l that is longer by s, and the log ratio of throughputs is

    -s + 2 s l / T    instead of    -s

If the other arm's burst begins after the queue is empty, the arm still gains its own l and loses nothing: s l / T is
left. Both remedies are taken on a GPU. Bursts that are four times as long, after a settling pause, leave an eighth of
the error: with l = 20 ms the log ratio shrinks by 2 % instead of 16 %.

The error is the same in every block, so a GPU has as many blocks as a CPU: the judge's degrees of freedom were found by
simulation with that number. docs/gpu.md says how much longer a cell takes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pausing:
    """The way in which a server is paused between bursts.

    Attributes
    ----------
    shortest_burst_s:
        Seconds that a burst lasts at least.
    settle_s:
        Seconds after a burst until the other arm's burst may begin.
    """

    shortest_burst_s: float
    settle_s: float


ON_CPU = Pausing(shortest_burst_s=0.0, settle_s=0.0)
"""A stopped process uses no core, so that the other arm has the CPU at once."""
ON_GPU = Pausing(shortest_burst_s=1.0, settle_s=0.05)
"""A closed loop has no more requests in flight than connections. A GPU that computes 1,300 images a second is done with
64 in 50 ms; a slower one still has less left to do when the other arm's burst begins."""

"""Count the requests in flight over all HTTP processes."""

import numpy as np

from service.transport.shared_arrays import SharedArrays


class Capacity:
    """Requests in flight, at most `most` over all HTTP processes; their connections are never spread quite evenly.

    Each process counts its own, without a lock. If several let a request in at the same moment, each may be one too
    many: the slots of the request table are the exact bound.

    Parameters
    ----------
    most:
        The most requests that may be in flight.
    processes:
        The number of HTTP processes, which are numbered from 0.
    """

    def __init__(self, most: int, processes: int) -> None:
        self.most = most
        self._inside = SharedArrays({"inside": ((processes,), np.int64)})["inside"]

    def enter(self, process: int) -> bool:
        """Let a request into the HTTP process, unless too many are in flight."""
        if self._inside.sum() >= self.most:
            return False
        self._inside[process] += 1
        return True

    def leave(self, process: int) -> None:
        """Note that a request has left the HTTP process."""
        self._inside[process] -= 1

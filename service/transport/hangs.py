"""HangDetector: finds workers that live and get no further, in a batch or while they load the model."""

from service.transport.request_table import RequestTable

_LOADING = -1  # no count of heartbeats


class HangDetector:
    """Measures for how long each worker has got no further.

    Time in which the whole server was suspended doesn't count, if the caller leaves it out.

    Parameters
    ----------
    worker_timeout_s:
        The most seconds between two heartbeats of a worker that is awake.
    start_timeout_s:
        The most seconds in which a worker must be ready for its first batch.
    """

    def __init__(self, table: RequestTable, worker_timeout_s: float, start_timeout_s: float) -> None:
        self._table, self._worker_timeout_s, self._start_timeout_s = table, worker_timeout_s, start_timeout_s
        self._stages: dict[int, tuple[int, float]] = {}

    def find_hang(self, worker: int, passed_s: float) -> str | None:
        """Say what a living worker has not done in time; None if it works, or sleeps and has nothing to do.

        Parameters
        ----------
        passed_s:
            The seconds since the last call for this worker.
        """
        stage = self._table.heartbeats(worker) if self._table.is_present(worker) else _LOADING
        before, seconds = self._stages.pop(worker, (None, 0.0))
        if stage is None:
            return None
        seconds = seconds + passed_s if stage == before else 0.0
        self._stages[worker] = stage, seconds
        if stage == _LOADING and seconds > self._start_timeout_s:
            return f"was not ready within {self._start_timeout_s:g} s (--start-timeout-s)"
        if stage != _LOADING and seconds > self._worker_timeout_s:
            return f"has not come back from a batch for {self._worker_timeout_s:g} s"
        return None

    def forget(self, worker: int) -> None:
        """Measure anew: another process will be this worker."""
        self._stages.pop(worker, None)

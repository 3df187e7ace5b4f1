"""WorkerSupervisor: replaces a worker that ends or hangs, and stops the server when an HTTP process ends."""

import logging
import os
import signal
import threading
import time
from collections import Counter

from litserve import LitServer

from service.transport.request_table import RequestTable

_LOG = logging.getLogger(__name__)
# Each wakeup costs an idle server CPU time. A shorter timeout of workers needs more looks.
_LOOK_EVERY_S = 0.5
_LOOKS_IN_A_TIMEOUT = 5
_LONGEST_PAUSE_S = 30.0


class WorkerSupervisor(threading.Thread):
    """A thread of the server's main process that looks at all other processes twice a second.

    It runs from before the server's start until after its end. It must: the workers that it starts end with it, see
    `service.processes.end_with_parent`.

    Parameters
    ----------
    worker_timeout_s:
        A worker that gives no heartbeat for so many seconds hangs. Time in which the whole server was suspended doesn't
        count.
    start_timeout_s:
        The first worker must be ready within so many seconds.

    Attributes
    ----------
    failure:
        The reason why the supervisor has stopped the server; None if it has not.
    """

    def __init__(self, server: LitServer, table: RequestTable, worker_timeout_s: float, start_timeout_s: float) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._server, self._table, self._worker_timeout_s = server, table, worker_timeout_s
        self._look_every_s = min(_LOOK_EVERY_S, worker_timeout_s / _LOOKS_IN_A_TIMEOUT)
        self._start_timeout_s, self._left_to_start_s = start_timeout_s, start_timeout_s
        self._is_stopping = False
        self._has_ended = threading.Event()
        self._is_up = False
        self._silent: dict[int, tuple[int | None, float]] = {}
        self._restarts: Counter[int] = Counter()
        self._restart_at_s: dict[int, float] = {}
        self.failure: str | None = None

    def stop(self) -> None:
        """Replace nothing from now on. A signal handler may call this: it doesn't wait."""
        self._is_stopping = True

    def end(self) -> None:
        """End the thread, and wait for that. The server has ended, or the workers would end now."""
        self.stop()
        self._has_ended.set()
        self.join()

    def run(self) -> None:
        """Look until `end` is called."""
        before_s = time.monotonic()
        while not self._has_ended.wait(self._look_every_s):
            now_s = time.monotonic()
            if not self._is_stopping:
                self._look(min(now_s - before_s, 2 * self._look_every_s))
            before_s = now_s

    def _look(self, passed_s: float) -> None:
        self._is_up = self._is_up or self._table.any_worker_present
        if not self._is_up:
            # LitServe itself would wait for ever.
            self._left_to_start_s -= passed_s
            if self._left_to_start_s < 0:
                self._fail(f"no worker was ready within {self._start_timeout_s:g} s (--start-timeout-s)")
        # LitServe sets the list when it has started all workers.
        for worker, process in enumerate(getattr(self._server, "inference_workers", [])):
            if not process.is_alive():
                self._replace(worker, process.exitcode)
            elif self._hangs(worker, passed_s):
                _LOG.error("worker %d has not come back from a batch for %g s: killed", worker, self._worker_timeout_s)
                process.kill()
                self._silent.pop(worker, None)
        if not all(process.is_alive() for process in self._server.http_processes):
            self._fail("an HTTP process has ended")

    def _hangs(self, worker: int, passed_s: float) -> bool:
        heartbeats = self._table.heartbeats(worker)
        before, silent_s = self._silent.pop(worker, (None, 0.0))
        if heartbeats is None:
            return False
        silent_s = silent_s + passed_s if heartbeats == before else 0.0
        self._silent[worker] = heartbeats, silent_s
        return silent_s > self._worker_timeout_s

    def _replace(self, worker: int, exitcode: int) -> None:
        if not self._is_up:
            # A worker whose setup has raised ends with status 0, and LitServe reports that itself.
            if exitcode:
                self._fail(f"a worker ended with status {exitcode} before it was ready")
            return
        if self._is_stopping:
            return
        now_s = time.monotonic()
        if worker not in self._restart_at_s:
            if self._table.batches(worker):
                self._restarts[worker] = 0
            self._table.leave(worker)
            self._silent.pop(worker, None)
            # A worker is replaced at once. If the new one ends without having finished a batch, the next starts later.
            pause_s = min(_LONGEST_PAUSE_S, 2.0 ** self._restarts[worker] - 1)
            self._restarts[worker] += 1
            self._restart_at_s[worker] = now_s + pause_s
            _LOG.error("worker %d has ended with status %s; a new one starts in %g s", worker, exitcode, pause_s)
        if now_s >= self._restart_at_s[worker]:
            del self._restart_at_s[worker]
            api = self._server.lit_api
            self._server.inference_workers[worker] = self._server.launch_single_inference_worker(api, worker)

    def _fail(self, why: str) -> None:
        if not self._is_stopping:
            self.failure = why
            self.stop()
            os.kill(os.getpid(), signal.SIGTERM)

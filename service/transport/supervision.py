"""WorkerSupervisor: replaces a worker that ends or hangs, and stops the server when an HTTP process ends."""

import logging
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from litserve import LitServer
from litserve.utils import WorkerSetupStatus

from service.transport.hangs import HangDetector
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
        The first worker must be ready within so many seconds. So must each later one, or else it hangs.

    Attributes
    ----------
    failure:
        The reason why the supervisor has stopped the server; None if it has not.
    """

    def __init__(self, server: LitServer, table: RequestTable, worker_timeout_s: float, start_timeout_s: float) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._server, self._table = server, table
        self._hangs = HangDetector(table, worker_timeout_s, start_timeout_s)
        self._look_every_s = min(_LOOK_EVERY_S, worker_timeout_s / _LOOKS_IN_A_TIMEOUT)
        self._start_timeout_s, self._left_to_start_s = start_timeout_s, start_timeout_s
        self._is_stopping = False
        self._has_ended = threading.Event()
        self._is_up = False
        self._next_pause_s: defaultdict[int, float] = defaultdict(float)
        self._start_at_s: dict[int, float] = {}
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
            try:
                if not self._is_stopping:
                    self._look(min(now_s - before_s, 2 * self._look_every_s))
                elif self._table.is_open:  # afterwards LitServe joins the workers, and only one thread may reap them
                    self._reap_workers()
            except Exception as error:
                # This thread must go on: when it ends, the kernel kills the workers that it has started.
                _LOG.exception("the processes can't be looked after")
                self._fail(f"its processes can't be looked after: {error!r}")
            before_s = now_s

    @property
    def _workers(self) -> Sequence[Any]:
        workers: Sequence[Any] = getattr(self._server, "inference_workers", [])  # LitServe sets it when all are started
        return workers

    def _look(self, passed_s: float) -> None:
        self._is_up = self._is_up or self._table.any_worker_present
        if not self._is_up:
            # LitServe itself would wait for ever.
            self._left_to_start_s -= passed_s
            if self._left_to_start_s < 0:
                self._fail(f"no worker was ready within {self._start_timeout_s:g} s (--start-timeout-s)")
        for worker, process in enumerate(self._workers):
            if not process.is_alive():
                self._replace(worker, process.exitcode)
            elif self._is_up and (hang := self._hangs.find_hang(worker, passed_s)):
                _LOG.error("worker %d %s: killed", worker, hang)
                process.kill()
                self._hangs.forget(worker)
        for number, process in enumerate(self._server.http_processes):
            if not process.is_alive():
                # It can't say so itself if it was killed, and the workers would stay for its requests.
                self._table.open(number, is_open=False)
                self._fail("an HTTP process has ended")

    def _reap_workers(self) -> None:
        """Reap the workers that have ended, as `is_alive` does, and replace none: the server stops.

        Until a worker is reaped, HTTP processes take it for alive, and the requests that it had wait for it.
        """
        for worker, process in enumerate(self._workers):
            if not process.is_alive() and self._table.is_present(worker):
                self._table.leave(worker)

    def _replace(self, worker: int, exitcode: int) -> None:
        if not self._is_up:
            # A worker whose setup has raised ends with status 0, and LitServe reports that itself.
            if exitcode:
                self._fail(f"a worker ended with status {exitcode} before it was ready")
            return
        if self._is_stopping:
            return
        now_s = time.monotonic()
        if worker not in self._start_at_s:
            if self._table.batches(worker):
                self._next_pause_s[worker] = 0.0
            self._table.leave(worker)
            self._hangs.forget(worker)
            # LitServe sets this only when it starts the next one. Until then `/health` would say that all are ready.
            endpoint = self._server.lit_api.api_path.split("/")[-1]
            self._server.workers_setup_status[f"{endpoint}_{worker}"] = WorkerSetupStatus.STARTING
            pause_s = self._plan_start(worker, now_s)
            _LOG.error("worker %d has ended with status %s; a new one starts in %g s", worker, exitcode, pause_s)
        if now_s >= self._start_at_s[worker]:
            self._launch(worker, now_s)

    def _plan_start(self, worker: int, now_s: float) -> float:
        """Return the pause before the next start: none at first, then ever longer until the worker finishes a batch."""
        pause_s = self._next_pause_s[worker]
        self._next_pause_s[worker] = min(_LONGEST_PAUSE_S, 2 * pause_s + 1)
        self._start_at_s[worker] = now_s + pause_s
        return pause_s

    def _launch(self, worker: int, now_s: float) -> None:
        try:
            process = self._server.launch_single_inference_worker(self._server.lit_api, worker)
        except OSError as error:  # the system has no process, file or memory to spare now, and may have later
            pause_s = self._plan_start(worker, now_s)
            _LOG.error("worker %d could not be started: %s; the next try is in %g s", worker, error, pause_s)
        else:
            del self._start_at_s[worker]
            self._server.inference_workers[worker] = process

    def _fail(self, why: str) -> None:
        if not self._is_stopping:
            self.failure = why
            self.stop()
            os.kill(os.getpid(), signal.SIGTERM)

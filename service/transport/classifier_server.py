"""LitServer with the request table in place of its queues, and without its own monitoring of the workers."""

import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping
from multiprocessing.managers import SyncManager
from typing import Any

from litserve import LitAPI, LitServer

from service.transport.dealing import ConnectionDealer
from service.transport.request_table import RequestTable
from service.transport.table_transport import TableTransport
from service.transport.worker_details import WorkerDetails

_LOG = logging.getLogger(__name__)
# uvicorn's own timeout must come first: then it answers 500 to the requests that are left. It begins to count a little
# after the signal, and LitServe may take a second more to end an HTTP process.
_GRACE_S = 5.0


class ClassifierServer(LitServer):  # type: ignore[misc]  # litserve ships no types
    """A LitServer for one API.

    Parameters
    ----------
    details:
        The workers' reports of how they run the model.
    api_processes:
        The number of HTTP processes that it will start.
    options:
        Keyword arguments of LitServer.

    Attributes
    ----------
    table:
        The requests in flight.
    table_transport:
        The transport that answers these requests.
    dealer:
        Deals connections to the HTTP processes.
    http_processes:
        The HTTP processes that were started; empty before that.
    on_stopping:
        Called before the HTTP processes are ended, whatever the reason is.
    """

    def __init__(
        self, api: LitAPI, table: RequestTable, details: WorkerDetails, api_processes: int, options: Mapping[str, Any]
    ) -> None:
        super().__init__(api, **options)
        self.table = table
        self.dealer = ConnectionDealer(api_processes)
        self.http_processes: tuple[Any, ...] = ()
        self.on_stopping: Callable[[], None] = lambda: None
        self._details = details
        self.table_transport = TableTransport(table, api_processes, api.encode_response)
        # `WorkerSupervisor` does this instead.
        self._monitor_workers = False

    @property
    def why_not_ready(self) -> str | None:
        """The reason that a worker gave why it could not load the model; None if no worker has reported one."""
        reason = self._details.read().get("failure")
        return None if reason is None else str(reason)

    @property
    def model_metadata(self) -> Mapping[str, object]:
        """The details of the model for `/info`. LitServe reads this for each request."""
        return self._details.read()

    @model_metadata.setter
    def model_metadata(self, none: None) -> None:
        """Ignore what LitServe's constructor sets: before a worker has loaded the model there is nothing to say."""

    def _register_api_endpoints(self, lit_api: LitAPI, request_type: object, response_type: object) -> None:
        """Add no endpoint that predicts: `service.app` adds its own."""

    def _init_manager(self, num_api_servers: int) -> SyncManager:
        # LitServe talks to the manager's process until the very end. SIGTERM may reach the whole process group, and the
        # new process inherits that it is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            manager: SyncManager = super()._init_manager(num_api_servers)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._transport = self.table_transport
        return manager

    def _start_server(
        self, port: int, processes: int, log_level: str, sockets: list[socket.socket], kind: str, **options: Any
    ) -> dict[int, Any]:
        [listener] = sockets
        self.dealer.listen_on(listener)
        started: dict[int, Any] = super()._start_server(port, processes, log_level, [self.dealer], kind, **options)
        self.http_processes = tuple(started.values())
        self.dealer.start()
        return started

    def _perform_graceful_shutdown(self, manager: SyncManager, _: object, shutdown_reason: str) -> None:
        self.on_stopping()
        # The HTTP processes drain: a new client is refused, so that it asks elsewhere at once.
        self.dealer.stop()
        self._drain()
        super()._perform_graceful_shutdown(manager, {}, shutdown_reason)

    def _drain(self) -> None:
        """Let the HTTP processes answer what they have, all at the same time, and kill those that don't end.

        LitServe would wait for one after the other, and kill each at the moment of uvicorn's own timeout.
        """
        for process in self.http_processes:
            process.terminate()
        limit_s = self.uvicorn_graceful_timeout + _GRACE_S
        end_s = time.monotonic() + limit_s
        for process in self.http_processes:
            process.join(max(0.0, end_s - time.monotonic()))
        for number, process in enumerate(self.http_processes):
            if process.is_alive():
                _LOG.error("HTTP process %d has not ended within %g s: killed", number, limit_s)
                process.kill()
            # It can't say so itself if it was killed, and the workers would stay for its requests.
            self.table.open(number, is_open=False)

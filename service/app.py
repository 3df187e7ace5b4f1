"""LitServer with the request table in the place of its queues, and workers that are watched."""

import signal
from collections.abc import Mapping
from multiprocessing.managers import SyncManager
from typing import Any

from litserve import LitServer

from service.api import ImageClassifierAPI
from service.transport.request_table import RequestTable
from service.transport.table_transport import TableTransport


class ClassifierServer(LitServer):  # type: ignore[misc]  # litserve ships no types
    """A LitServer for one API.

    LitServe has no public way to replace what carries its requests, nor to leave the watching of its workers to others:
    `_init_manager` and `_monitor_workers` are its own. The tests tell when an update of LitServe changes them.

    Parameters
    ----------
    processes:
        HTTP processes.
    litserve:
        What LitServer takes.

    Attributes
    ----------
    table:
        The requests in flight.
    """

    def __init__(
        self, api: ImageClassifierAPI, table: RequestTable, processes: int, litserve: Mapping[str, Any]
    ) -> None:
        super().__init__(api, **litserve)
        self.table = table
        self._transport_of_table = TableTransport(table, processes)
        self._monitor_workers = False

    def _init_manager(self, num_api_servers: int) -> SyncManager:
        # LitServe's manager is a process that it talks to until its end; SIGTERM may reach the whole group.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            manager: SyncManager = super()._init_manager(num_api_servers)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.litapi_request_queues[self.lit_api.api_path] = self._transport_of_table
        self._transport = self._transport_of_table
        return manager

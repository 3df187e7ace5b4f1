"""A fresh server of a checkout, from its start until it is paused and waits for bursts of load."""

import http.client
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from servegate.errors import MeasurementError
from servegate.load.engines import LoadEngine
from servegate.load.requests import wrong_answer
from servegate.load.workload import Workload
from servegate.measure.bursts import PausableServer, open_pausable_server
from servegate.measure.cell_load import LoadOf
from servegate.measure.code_path import names_python
from servegate.measure.http.service import HttpService
from servegate.processes.local_http import open_local
from servegate.processes.pausing import ON_CPU, ON_GPU, Pausing
from servegate.processes.server import ServerProcess
from servegate.records import Checkout, ProcessRecord
from servegate.telemetry.devices import reports_gpu
from servegate.telemetry.missed_gpu import tell_missed_gpu

# The warm-up of a cell on a checkout, before its first burst.
_WARMUP_BEFORE_BURSTS_S = 0.5
_FIRST_ANSWER_S = 60.0


@contextmanager
def launch_server(
    service: HttpService, checkout: Checkout, first: Workload, load_of: LoadOf
) -> Iterator["LaunchedServer"]:
    """Start the service of a checkout; the context ends it.

    Parameters
    ----------
    first:
        The request whose right answer ends the start.
    load_of:
        As in `PausableServer`.
    """
    with ExitStack() as parts:
        server = service.process(checkout)
        parts.callback(server.stop)
        server.launch()
        yield LaunchedServer(service, checkout, server, first, load_of, parts)


class LaunchedServer:
    """A server that was started and may not be ready yet; see `launch_server`.

    Parameters
    ----------
    parts:
        The context that ends the server and what is opened here.
    """

    def __init__(
        self,
        service: HttpService,
        checkout: Checkout,
        server: ServerProcess,
        first: Workload,
        load_of: LoadOf,
        parts: ExitStack,
    ) -> None:
        self._service = service
        self._checkout = checkout
        self._server = server
        self._first = first
        self._load_of = load_of
        self._parts = parts
        self._began_s = time.monotonic()
        self._start_s: float | None = None

    def wait_until_ready(self) -> None:
        """Wait for the server and for its first answer, and pause it."""
        self._server.wait_until_ready()
        if is_answered_rightly(self._server.url, self._first):
            self._start_s = time.monotonic() - self._began_s
        self._server.process.pause()

    def open(self, engine: LoadEngine, /) -> PausableServer:
        """Read the details that the server reports, and start the clients for it."""
        self._server.process.resume()
        details = self._describe()
        opened = open_pausable_server(self._server, self._load_of, _WARMUP_BEFORE_BURSTS_S, engine)
        server = self._parts.enter_context(opened)
        return replace(
            server,
            record=ProcessRecord(self._start_s, server.observed.memory_bytes()),
            details=details,
            is_python=names_python(self._service.command),
            pausing=choose_pausing(details, has_gpu=server.observed.has_gpu),
        )

    def ask_to_end(self) -> None:
        """See `LaunchedProcess`."""
        self._server.process.ask_to_end()

    def _describe(self) -> Mapping[str, str]:
        try:
            details = self._service.describe(self._server.url)
        except Exception as error:
            # `describe` is code of the working tree. An older commit may not support it, which is no error.
            if self._checkout.name != "base":
                raise MeasurementError(f"`describe` of the service failed: {error!r}") from error
            return {}
        return tell_missed_gpu(details)


def choose_pausing(details: Mapping[str, str], *, has_gpu: bool) -> Pausing:
    """Choose how a server is paused, by the device that it reports.

    Parameters
    ----------
    has_gpu:
        Whether there is a GPU that it may use. This decides if the server reports no device, as an older commit: it is
        worse to miss queued work than to take longer bursts than a CPU needs.
    """
    is_on_gpu = reports_gpu(details)
    return ON_GPU if (has_gpu if is_on_gpu is None else is_on_gpu) else ON_CPU


def is_answered_rightly(url: str, workload: Workload) -> bool:
    """Send a request once. An error raises nothing here: the measurement meets it again and reports it.

    A stream that sends a piece now and then may never end, so each piece is a look at the time.
    """
    end_s = time.monotonic() + _FIRST_ANSWER_S
    # As the load client sends it; urllib would say that the body is a form.
    headers = {"Content-Type": "application/octet-stream", **workload.headers}
    request = urllib.request.Request(url + workload.path, workload.body, headers, method=workload.method)
    try:
        with open_local(request, timeout=_FIRST_ANSWER_S) as response:
            body = bytearray()
            while piece := response.read1():
                body += piece
                if time.monotonic() > end_s:
                    return False
            is_cut_off = bool(response.length)
            return not is_cut_off and wrong_answer(workload, response.status, bytes(body)) is None
    except (OSError, http.client.HTTPException):
        return False

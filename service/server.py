"""The server: `python -m service.server`, `make serve`. `build_server` is for those who run it in their own process."""

import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from service.environment import ensure_environment
from service.settings import Settings, SettingsError, load_settings, usable_cores
from service.transport.orphans import end_with_parent

if TYPE_CHECKING:
    from service.app import ClassifierServer
    from service.transport.supervision import WorkerSupervisor

_MODULE = "service.server"
_METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build_server(settings: Settings) -> "ClassifierServer":
    """A LitServe server with `/predict`, `/health`, `/live` and `/metrics`, not yet running.

    `/health` says whether all its workers are ready, `/live` whether it can be reached at all.

    Its inference workers take torch's threads and the allocator's settings from the environment that they inherit, see
    `service.environment`.
    """
    # Imported here: `main` may start the process over first, which would load all this twice.
    from fastapi import Response
    from litserve.server import LIT_SERVER_API_KEY

    from service import metrics
    from service.api import ImageClassifierAPI
    from service.app import ClassifierServer
    from service.images import ImageReader
    from service.transport.request_table import RequestTable
    from service.web.admission import Admission
    from service.web.head import HeadAsGet
    from service.web.image_request import Intake
    from service.web.openapi import describe

    processes = settings.resolved_api_processes
    slots = math.ceil(settings.resolved_max_requests / processes)
    table = RequestTable(settings.image_size, slots, processes, _answer_bytes(settings))
    api = ImageClassifierAPI(settings, table)
    admission = {"path": api.api_path, "max_requests": slots, "api_key": LIT_SERVER_API_KEY or ""}
    litserve = {
        "accelerator": settings.resolved_device,
        "workers_per_device": settings.resolved_workers_per_device,
        "timeout": settings.request_timeout_s,
        # The last is the outermost: what is refused is counted, too.
        "middlewares": [(HeadAsGet, {}), (Admission, admission), (metrics.RequestMetrics, {"path": api.api_path})],
    }
    server = ClassifierServer(api, table, processes, litserve)
    server.uvicorn_graceful_timeout = settings.stop_timeout_s
    server.app.state.intake = Intake(
        reader=ImageReader(settings.image_size, settings.crop_fraction, settings.max_image_pixels),
        max_image_bytes=settings.max_image_bytes,
        request_timeout_s=settings.request_timeout_s,
        decoders=ThreadPoolExecutor(usable_cores(), "decode"),
        table=table,
    )

    @server.app.get("/live")  # type: ignore[untyped-decorator]
    def live_endpoint() -> Response:
        return Response("ok")

    @server.app.get("/metrics")  # type: ignore[untyped-decorator]
    def metrics_endpoint() -> Response:
        return Response(metrics.exposition(), media_type=_METRICS_CONTENT_TYPE)

    describe(server.app, api.api_path)
    return server


def _answer_bytes(settings: Settings) -> int:
    """Room for an answer: each label with what JSON makes of its characters at most, and the stages."""
    return 4_096 + sum(64 + 6 * len(label) for label in settings.labels)


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the process's exit status."""
    try:
        settings = load_settings(arguments, f"python -m {_MODULE}")
        ensure_environment(settings, _MODULE, arguments)
        logging.captureWarnings(True)
        server = build_server(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    from service.transport.supervision import WorkerSupervisor
    from service.web.protocol import BoundedHttp, raise_file_limit

    max_connections = raise_file_limit()
    supervisor = WorkerSupervisor(server, server.table, settings.worker_timeout_s)
    _stop_on_signals(supervisor)
    status = 0
    try:
        supervisor.start()
        server.run(
            host=settings.host,
            port=settings.port,
            num_api_servers=settings.resolved_api_processes,
            log_level=settings.log_level,
            generate_client_file=False,
            access_log=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            http=partial(BoundedHttp, head_timeout_s=settings.request_timeout_s, max_connections=max_connections),
        )
    except KeyboardInterrupt:
        status = 130
    except RuntimeError as error:
        print(f"the server did not start: {error}", file=sys.stderr)
        status = 1
    finally:
        supervisor.stop()
        supervisor.join()
        _kill_children()
    if supervisor.failure:
        print(f"the server has stopped: {supervisor.failure}", file=sys.stderr)
        status = 1
    return status


def _kill_children() -> None:
    """Leave nothing behind, also when a signal cut the start or the draining short.

    multiprocessing doesn't know of a child that it was just starting. Its resource tracker ends by itself.
    """
    for child in psutil.Process().children():
        try:
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()
        except psutil.NoSuchProcess:
            pass  # it has ended


def _stop_on_signals(supervisor: "WorkerSupervisor") -> None:
    """Let SIGTERM and SIGINT end the server alike, however it was started; this process alone decides.

    LitServe drains on KeyboardInterrupt alone; as it comes, SIGTERM would leave workers and port behind. SIGINT may be
    ignored from the start on: a script's background job inherits that.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()
        signal.default_int_handler(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    # Ctrl-C reaches the whole process group. A forked HTTP process drains at this one's SIGTERM; were its own SIGINT to
    # come after that, uvicorn would take it for a second signal and drop what is in flight.
    def leave_it_to_the_parent() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        # It ends by raising again the signal that stopped it: by default it goes without a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent()

    os.register_at_fork(after_in_child=leave_it_to_the_parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""FastAPI and LitServe put together, and the server's life in its main process: start, signals, end."""

import logging
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType

from fastapi import FastAPI, Response
from litserve.server import LIT_SERVER_API_KEY
from starlette.routing import Route

from service import metrics
from service.api import ImageClassifierAPI
from service.images import ImageReader
from service.processes import end_with_parent, kill_children
from service.settings import Settings
from service.transport.capacity import Capacity
from service.transport.classifier_server import ClassifierServer
from service.transport.request_table import RequestTable
from service.transport.supervision import WorkerSupervisor
from service.transport.worker_details import WorkerDetails
from service.web.admission import Admission
from service.web.head import HeadAsGet
from service.web.image_request import Intake, answer_image_request
from service.web.openapi import describe
from service.web.protocol import BoundedHttp, raise_file_limit

_METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build_server(settings: Settings) -> ClassifierServer:
    """Make a LitServe server with `/predict`, `/health`, `/live` and `/metrics`, which doesn't run yet.

    `/health` says whether all its workers are ready, `/live` whether it can be reached at all.

    Its workers inherit the variables of `service.environment` from the process that runs it.

    Raises
    ------
    SettingsError
        When the device of the settings can't be had.
    """
    api_processes = settings.resolved_api_processes
    most, labels = settings.resolved_max_requests, len(settings.reported_labels)
    table = RequestTable(
        settings.image_size,
        most,
        api_processes,
        labels,
        devices=settings.device_count,
        workers_per_device=settings.resolved_workers_per_device,
    )
    details = WorkerDetails()
    api = ImageClassifierAPI(settings, table, details)
    capacity = Capacity(most, api_processes)
    admission = {"path": api.api_path, "capacity": capacity, "api_key": LIT_SERVER_API_KEY or ""}
    options = {
        "accelerator": settings.resolved_device,
        # LitServe's own count has none of the GPUs that CUDA_VISIBLE_DEVICES names by UUID.
        "devices": settings.device_count,
        "workers_per_device": settings.resolved_workers_per_device,
        "timeout": settings.request_timeout_s,
        # The last one is the outermost: it counts refused requests, too.
        "middlewares": [(HeadAsGet, {}), (Admission, admission), (metrics.RequestMetrics, {"path": api.api_path})],
    }
    server = ClassifierServer(api, table, details, api_processes, options)
    server.uvicorn_graceful_timeout = settings.stop_timeout_s
    server.app.state.intake = Intake(
        reader=ImageReader(settings.image_size, settings.crop_fraction, settings.max_image_pixels),
        max_image_bytes=settings.max_image_bytes,
        request_timeout_s=settings.request_timeout_s,
        decoders=ThreadPoolExecutor(settings.decoding_threads, "decode"),
        table=table,
    )
    server.app.state.transport = server.table_transport
    _add_endpoints(server.app, api.api_path)
    describe(server.app, api.api_path)
    return server


def _add_endpoints(app: FastAPI, path: str) -> None:
    predict = Route(path, answer_image_request, methods=["POST"])
    # The regex that Starlette makes ends in "$", which matches before a final line break, too. `/predict%0A` would
    # reach the endpoint past `Admission` and `RequestMetrics`, which compare the whole path.
    predict.path_regex = re.compile(re.escape(path) + r"\Z")
    app.routes.append(predict)

    @app.get("/live")
    def live_endpoint() -> Response:
        return Response("ok")

    @app.get("/metrics")
    def metrics_endpoint() -> Response:
        return Response(metrics.exposition(), media_type=_METRICS_CONTENT_TYPE)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C, and leave no process behind. Returns the process's exit status."""
    logging.captureWarnings(True)
    server, max_connections = build_server(settings), raise_file_limit()
    supervisor = WorkerSupervisor(server, server.table, settings.worker_timeout_s, settings.start_timeout_s)
    server.on_stopping = supervisor.stop
    _stop_on_signals(supervisor)
    _prepare_forks()
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
            loop="service.transport.dealing:DealtLoop",
            http=partial(
                BoundedHttp,
                head_timeout_s=settings.request_timeout_s,
                max_connections=max_connections,
                on_closed=server.dealer.count_closed,
            ),
        )
    except KeyboardInterrupt:
        status = 130
    except RuntimeError as error:
        print(f"the server did not start: {server.why_not_ready or error}", file=sys.stderr)
        status = 1
    finally:
        # A signal may have cut the start or the draining short.
        supervisor.end()
        kill_children()
    if supervisor.failure:
        print(f"the server has stopped: {supervisor.failure}", file=sys.stderr)
        status = 1
    return status


def _stop_on_signals(supervisor: WorkerSupervisor) -> None:
    """Let both SIGTERM and SIGINT end the server, however it was started; only the main process decides.

    LitServe drains only on KeyboardInterrupt: on a plain SIGTERM it would leave its workers behind, and the port in
    use. SIGINT may be ignored from the start: a background job of a shell script inherits that.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stop()
        signal.default_int_handler(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _prepare_forks() -> None:
    """Prepare the processes that LitServe forks from this one: the HTTP processes and multiprocessing's manager."""

    def prepare_fork() -> None:
        # Ctrl-C reaches the whole process group, but an HTTP process drains when this one sends it SIGTERM. If its own
        # SIGINT came after that, uvicorn would take it for a second signal and drop what is in flight.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        # At its end uvicorn raises the signal that stopped it again; by default that ends it without a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        end_with_parent(os.getppid())

    os.register_at_fork(after_in_child=prepare_fork)

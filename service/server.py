"""The server: `python -m service.server`, `make serve`. `build_server` is for those who run it in their own process."""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from service.environment import ensure_environment
from service.settings import Settings, SettingsError, load_settings, usable_cores

if TYPE_CHECKING:
    from litserve import LitServer

_MODULE = "service.server"
_METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build_server(settings: Settings) -> "LitServer":
    """A LitServe server with `/predict`, `/health` and `/metrics`, not yet running.

    Its inference workers take torch's threads and the allocator's settings from the environment that they inherit, see
    `service.environment`.
    """
    # Imported here: `main` may start the process over first, which would load all this twice.
    from fastapi import Response
    from litserve import LitServer
    from litserve.server import LIT_SERVER_API_KEY

    from service import metrics
    from service.admission import Admission
    from service.api import ImageClassifierAPI
    from service.batching import Occupancy
    from service.image_request import Intake
    from service.images import ImageReader
    from service.pixel_slots import PixelSlots

    occupancy, slots = Occupancy(), PixelSlots(settings.image_size)
    api = ImageClassifierAPI(settings, occupancy, slots)
    admission = {
        "path": api.api_path,
        "max_requests": settings.max_requests,
        "processes": settings.resolved_api_processes,
        "api_key": LIT_SERVER_API_KEY or "",
    }
    server = LitServer(
        api,
        accelerator=settings.resolved_device,
        workers_per_device=settings.resolved_workers_per_device,
        timeout=settings.request_timeout_s,
        # The last is the outermost: what is refused is counted, too.
        middlewares=[(Admission, admission), (metrics.RequestMetrics, {"path": api.api_path})],
    )
    server.uvicorn_graceful_timeout = settings.stop_timeout_s
    server.app.state.intake = Intake(
        reader=ImageReader(settings.image_size, settings.crop_fraction, settings.max_image_pixels),
        max_image_bytes=settings.max_image_bytes,
        decoders=ThreadPoolExecutor(usable_cores(), "decode"),
        slots=slots,
        occupancy=occupancy,
    )

    @server.app.get("/metrics")  # type: ignore[untyped-decorator]
    def metrics_endpoint() -> Response:
        return Response(metrics.exposition(), media_type=_METRICS_CONTENT_TYPE)

    return server


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the process's exit status."""
    try:
        settings = load_settings(arguments, f"python -m {_MODULE}")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    ensure_environment(settings, _MODULE, arguments)
    logging.captureWarnings(True)
    _stop_on_signals()
    try:
        build_server(settings).run(
            host=settings.host,
            port=settings.port,
            num_api_servers=settings.resolved_api_processes,
            log_level=settings.log_level,
            generate_client_file=False,
            access_log=False,
        )
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"the server did not start: {error}", file=sys.stderr)
        return 1
    finally:
        # Nothing is left behind, also when a signal cut the start or the draining short.
        for child in multiprocessing.active_children():
            child.kill()
    return 0


def _stop_on_signals() -> None:
    """Let SIGTERM and SIGINT end the server alike, however it was started; this process alone decides.

    LitServe drains on KeyboardInterrupt alone; as it comes, SIGTERM would leave workers and port behind. SIGINT may be
    ignored from the start on: a script's background job inherits that.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)

    # Ctrl-C reaches the whole process group. A forked HTTP process drains at this one's SIGTERM; were its own SIGINT to
    # come after that, uvicorn would take it for a second signal and drop what is in flight.
    def leave_it_to_the_parent() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        # It ends by raising again the signal that stopped it: by default it goes without a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=leave_it_to_the_parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

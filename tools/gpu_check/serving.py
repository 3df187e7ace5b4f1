"""The server under load, with several numbers of HTTP processes: requests a second, stages, CPU by role, GPU."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from perf_tests.photos import cat_jpeg, cat_workload
from perf_tests.targets import describe_server
from servegate.errors import ServegateError
from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.processes.server import ServerProcess
from servegate.telemetry.gpus import GpuReading, open_gpus, read_gpu
from service.settings import usable_cores
from tools.gpu_check.steps import Row
from tools.profile_request import profile
from tools.stress.server_processes import server_command

_ROOT = Path(__file__).parents[2]
_CONCURRENCIES = (1, 8, 64, 256)
_WARMUP_S, _SECONDS = 1.0, 3.0
_READY_DEADLINE_S = 100.0
_EVERY_S = 0.05


def rows() -> Iterator[Row]:
    """Yield a row for each number of HTTP processes and each concurrency."""
    for processes in sorted({1, max(1, usable_cores() // 4), max(2, usable_cores() // 2)}):
        command = server_command("--api-processes", str(processes), "--max-requests", "512")
        with (
            ServerProcess(command, cwd=_ROOT, env={}, ready_deadline_s=_READY_DEADLINE_S) as server,
            LoadEngine().start() as clients,
        ):
            yield {"HTTP processes": processes, **describe_server(server.url)}
            for concurrency in _CONCURRENCIES:
                job = LoadJob(server.url, cat_workload(cat_jpeg()), concurrency, _WARMUP_S, _SECONDS)
                row: dict[str, object] = {"HTTP processes": processes, "concurrency": concurrency}
                try:
                    with _watch_gpus() as readings:
                        measured = profile(server, clients, f"concurrency {concurrency}", job)
                except ServegateError as error:  # a 503, say
                    yield {**row, "failed": str(error)}
                    continue
                yield {
                    **row,
                    "requests/s": measured.requests_per_s,
                    "latency ms": measured.latency_ms,
                    **{f"{stage} ms": duration_ms for stage, duration_ms in measured.stages_ms.items()},
                    **{f"{role} core-ms": core_ms for role, core_ms in measured.core_ms.items()},
                    **_summary(readings),
                }


@contextmanager
def _watch_gpus() -> Iterator[list[GpuReading]]:
    """Read the GPUs twenty times a second."""
    readings, stop = list[GpuReading](), threading.Event()
    with open_gpus() as gpus:

        def read() -> None:
            while gpus and not stop.wait(_EVERY_S):
                readings.extend(read_gpu(gpu) for gpu in gpus)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield readings
        finally:
            stop.set()
            thread.join()


def _summary(readings: list[GpuReading]) -> Row:
    figures = {
        "GPU %": [reading.utilisation_percent for reading in readings],
        "GPU W": [reading.power_w for reading in readings],
        "GPU MHz": [reading.sm_clock_mhz for reading in readings],
    }
    known = {name: [value for value in values if value is not None] for name, values in figures.items()}
    return {name: fmean(values) for name, values in known.items() if values}

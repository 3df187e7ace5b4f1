"""Jobs for the load client on the stub server, and the client as a process of its own that does them."""

import json
import sys
from pathlib import Path

from servegate.load.client import LoadJob
from servegate.load.results import LoadResult, parse_result
from servegate.load.workload import Workload
from servegate.processes.managed import ManagedProcess
from servegate.processes.server import ServerProcess
from unit_tests.builders import stub_server

DEADLINE_S = 60.0


def job_for(
    stub: ServerProcess, mode: str, *, concurrency: int = 2, measure_s: float = 0.3, tolerance: float = 0.0
) -> LoadJob:
    """A job for one of the stub's modes, of which the right answer is expected."""
    workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER, tolerance=tolerance)
    return LoadJob(stub.url, workload, concurrency, warmup_s=0.1, measure_s=measure_s)


def start_client() -> ManagedProcess:
    """A load client that waits for its first job."""
    command = [sys.executable, "-m", "servegate.load.client"]
    return ManagedProcess(command, cwd=Path.cwd(), env={}, name="the load client", pipes=True)


def run_client(job: LoadJob) -> LoadResult:
    """Through a client process, as ServerInstrument does."""
    with start_client() as client:
        assert json.loads(client.exchange(job.to_json(), DEADLINE_S)) == {"measuring": True}
        return parse_result(client.read_line(DEADLINE_S))

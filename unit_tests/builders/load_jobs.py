"""Jobs for the load client on the stub server, and client processes that do them."""

from servegate.load.client import LoadJob
from servegate.load.engines import LoadEngine
from servegate.load.results import LoadResult
from servegate.load.workload import Workload
from servegate.processes.server import ServerProcess
from unit_tests.builders import stub_server


def job_for(
    stub: ServerProcess, mode: str, *, concurrency: int = 2, measure_s: float = 0.3, tolerance: float = 0.0
) -> LoadJob:
    """A job for one of the stub's modes, of which the right answer is expected."""
    workload = Workload(f"/predict/{mode}", b"{}", expected=stub_server.ANSWER, tolerance=tolerance)
    return LoadJob(stub.url, workload, concurrency, warmup_s=0.1, measure_s=measure_s)


def run_clients(job: LoadJob, processes: int = 1) -> LoadResult:
    """The result of a job that so many client processes share, as ServerInstrument has it done."""
    with LoadEngine(processes=processes).start() as clients:
        clients.measure(job)
        return clients.read_result(job)

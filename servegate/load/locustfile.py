"""The locustfile of each Locust worker: its users are the connections that send the requests of a job.

    locust --worker --locustfile servegate/load/locustfile.py --master-host MASTER --master-port PORT

The master (`servegate.load.locust_master`) sends the job, and the worker checks each answer. When the master ends the
load, each connection stops after the answer for which it waits, and the worker sends its record to the master. Workers
on other machines need synchronised clocks: the master puts the answers of all workers in order by their times.
"""

import time
from collections.abc import Iterator
from typing import Any

import gevent
from locust import FastHttpUser, constant, events, runners, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import Runner, WorkerRunner

from servegate.load.client import LoadJob
from servegate.load.deployed import tls_context
from servegate.load.locust_cpu import REPORT_S
from servegate.load.requests import MAX_FAILURES, Completion, wrong_answer
from servegate.load.server_timing import HEADER
from servegate.load.workload import WeightedSet, Workload

# A worker sends READY and SEEN, the master JOB and END.
READY, JOB, END, SEEN = "servegate-ready", "servegate-job", "servegate-end", "servegate-seen"


class _Worker:
    """The job of this worker process, and what it has recorded of it."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, job: LoadJob | None) -> None:
        """Begin a job and drop the record of the job before."""
        self.job = job
        self.order: Iterator[Workload] = iter(()) if job is None else WeightedSet(job.workload.parts).order()
        self.is_ending = False
        self.completions: list[Completion] = []
        self.failures: list[str] = []
        self.cpu: list[tuple[float, float]] = []


_worker = _Worker()


class Connection(FastHttpUser):
    """Sends its next request when the one before is answered."""

    host = "http://no.job"
    insecure = False
    wait_time = constant(0)

    @task
    def send(self) -> None:
        """Send one request of the job and check the answer."""
        workload = next(_worker.order)
        start_s = time.perf_counter()
        with self.client.request(
            workload.method,
            workload.path,
            data=workload.body,  # type: ignore[arg-type]  # it takes bytes, too
            headers=dict(workload.headers),
            catch_response=True,
        ) as response:
            duration_s, at_s = time.perf_counter() - start_s, time.time()
            if response.status_code == 0:
                wrong: str | None = f"no answer: {response.error!r}"
            else:
                wrong = wrong_answer(workload, response.status_code, response.content or b"")
            if wrong is None:
                server_timing = (response.headers or {}).get(HEADER, "")
                _worker.completions.append(Completion(at_s, duration_s, server_timing))
                response.success()
            else:
                _worker.failures.append(wrong)
                response.failure(wrong)
        if _worker.is_ending or len(_worker.failures) >= MAX_FAILURES:
            raise StopUser


@events.init.add_listener  # type: ignore[untyped-decorator]
def _listen(runner: Runner, **_: Any) -> None:
    if isinstance(runner, WorkerRunner):
        runners.WORKER_REPORT_INTERVAL = REPORT_S
        runner.register_message(JOB, _begin)
        runner.register_message(END, _end, concurrent=True)
        # Locust counts a worker as ready when it connects, but a job that arrives before this line would be lost.
        runner.send_message(READY)


def _begin(environment: Environment, msg: Any, **_: Any) -> None:  # noqa: ARG001  (locust passes both by name)
    job = LoadJob.from_json(msg.data["job"])
    _worker.begin(job)
    Connection.host = job.url
    Connection.network_timeout = Connection.connection_timeout = 60.0
    Connection.ssl_context_factory = staticmethod(lambda: tls_context(job.ca_file))


def _end(environment: Environment, msg: Any, **_: Any) -> None:  # noqa: ARG001  (locust passes both by name)
    _worker.is_ending = True
    runner = environment.runner
    assert isinstance(runner, WorkerRunner)
    while runner.user_count:
        gevent.sleep(0.01)
    seen = {"completions": _worker.completions, "failures": _worker.failures, "cpu": _worker.cpu}
    runner.send_message(SEEN, seen)


@events.report_to_master.add_listener  # type: ignore[untyped-decorator]
def _report(data: dict[str, Any], **_: Any) -> None:
    _worker.cpu.append((time.time(), time.process_time()))
    data["servegate"] = {"completions": len(_worker.completions), "failures": len(_worker.failures)}

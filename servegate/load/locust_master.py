"""Load by Locust: `python -m servegate.load.locust_master`. It talks as `servegate.load.client` does.

This process is Locust's master. It starts workers here and waits for those that are started on other machines; all of
them share the connections of each job.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

from servegate.load.client import MEASURE, LoadJob
from servegate.load.locust_cpu import cpu_cores
from servegate.load.locustfile import END, JOB, READY, SEEN, Connection
from servegate.load.requests import MAX_FAILURES, Completion
from servegate.load.results import ClientRecord, MeasuredClient
from servegate.processes.ports import free_port

# Longer than a request may take.
_WORKERS_DEADLINE_S = 70.0
_PATIENCE = 8.0
_EVERY_ADDRESS = ("0.0.0.0", "*")
_POLL_S = 0.02


class Master:
    """Locust's master with its workers.

    Parameters
    ----------
    address:
        Host and port that workers connect to.
    workers:
        The number of workers that will connect.
    """

    def __init__(self, address: tuple[str, int], workers: int) -> None:
        environment = Environment(user_classes=[Connection], events=events)
        self._runner: MasterRunner = environment.create_master_runner(*address)
        self._workers = workers
        self._counts: dict[str, dict[str, int]] = {}
        self._seen: list[dict[str, Any]] = []
        self._listening: set[str] = set()
        environment.events.worker_report.add_listener(self._on_report)  # type: ignore[no-untyped-call]
        self._runner.register_message(SEEN, self._on_seen)
        self._runner.register_message(READY, self._on_ready)

    def wait_for_workers(self) -> None:
        """Wait until all workers are idle and listen for a job."""
        self._wait_for_all(
            lambda: sum(client.id in self._listening for client in self._runner.clients.ready), "are ready"
        )

    def _wait_for_all(self, count: Callable[[], int], what: str) -> None:
        end_s = time.monotonic() + _WORKERS_DEADLINE_S
        while (there := count()) < self._workers:
            if time.monotonic() > end_s:
                sys.exit(f"{there} of {self._workers} Locust workers {what} after {_WORKERS_DEADLINE_S:g} s")
            gevent.sleep(_POLL_S)

    def run(self, job: LoadJob) -> ClientRecord:
        """Load the job's service; prints a line when it is warm, and measures after the line `measure`."""
        assert job.measure_s is not None, "Locust runs a job for a time"
        assert job.rate_per_s is None, "Locust runs closed loops"
        self._counts.clear()
        self._seen.clear()
        self._runner.send_message(JOB, {"job": job.to_json()})
        self._runner.start(job.concurrency, spawn_rate=job.concurrency)
        self._wait(job.warmup_s, job.concurrency)
        print(json.dumps({"warm": True}), flush=True)
        _read_line()
        print(json.dumps({"told": MEASURE}), flush=True)
        begin_s, before = time.time(), self._count("completions")
        self._wait(job.measure_s, before + 2 * job.concurrency + 1)
        end_s = time.time()
        self._runner.send_message(END)
        self._wait_for_all(lambda: len(self._seen), "have ended their load")
        self._runner.stop()
        self.wait_for_workers()
        return self._record(begin_s, end_s)

    def quit(self) -> None:
        """Let the workers go."""
        self._runner.quit()

    def _wait(self, seconds: float, completions: int) -> None:
        """Wait until time is over and enough requests have completed, or the load fails, or the time limit passes."""
        start_s = time.monotonic()
        while self._count("failures") < MAX_FAILURES:
            elapsed_s = time.monotonic() - start_s
            if elapsed_s >= seconds and (self._count("completions") >= completions or elapsed_s >= seconds * _PATIENCE):
                return
            gevent.sleep(_POLL_S)

    def _count(self, what: str) -> int:
        return sum(count[what] for count in self._counts.values())

    def _on_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        self._counts[client_id] = data["servegate"]

    def _on_ready(self, environment: Environment, msg: Any, **_: Any) -> None:  # noqa: ARG002  (locust passes it)
        self._listening.add(msg.node_id)

    def _on_seen(self, environment: Environment, msg: Any, **_: Any) -> None:  # noqa: ARG002  (locust passes it)
        self._seen.append(msg.data)

    def _record(self, begin_s: float, end_s: float) -> ClientRecord:
        return ClientRecord(
            [Completion(*item) for seen in self._seen for item in seen["completions"]],
            [failure for seen in self._seen for failure in seen["failures"]],
            [
                MeasuredClient(begin_s, end_s, cpu_cores(seen["cpu"], begin_s, end_s) * (end_s - begin_s))
                for seen in self._seen
            ],
        )


def _read_line() -> str:
    # In a thread: gevent has no other way to wait for a line.
    line: str = gevent.get_hub().threadpool.apply(sys.stdin.readline)
    return line


def main(arguments: Sequence[str]) -> int:
    """Run the jobs on stdin, one a line. Returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m servegate.load.locust_master", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="workers that are started here")
    parser.add_argument("--remote-workers", type=int, default=0, help="workers that come from other machines")
    parser.add_argument("--bind", default="", help="HOST:PORT for the workers to connect to")
    options = parser.parse_args(arguments)
    host, _, port = (options.bind or f"127.0.0.1:{free_port()}").rpartition(":")
    master = Master((host, int(port)), options.workers + options.remote_workers)
    command = [sys.executable, "-m", "locust", "--worker", "--headless", "--loglevel", "WARNING"]
    command += ["--locustfile", str(Path(__file__).with_name("locustfile.py"))]
    command += ["--master-host", "127.0.0.1" if host in _EVERY_ADDRESS else host, "--master-port", port]
    workers = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr) for _ in range(options.workers)]
    try:
        master.wait_for_workers()
        while line := _read_line():
            print(master.run(LoadJob.from_json(line)).to_json(), flush=True)
        master.quit()
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

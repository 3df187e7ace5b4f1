"""Where the time of a request goes: `make profile`, `python -m tools.profile_request`.

The stages that the service times itself split the latency, and its processes split the CPU time. The rest of the
latency is HTTP, the way back, and the wait for a thread that decodes.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families

from perf_tests.photos import cat_jpeg, cat_workload, large_cat_jpeg
from perf_tests.targets import CLASSIFIER, describe_server
from servegate.errors import ServegateError
from servegate.load.client import LoadJob
from servegate.load.client_processes import ClientProcesses
from servegate.load.engines import LoadEngine
from servegate.load.workload import Workload
from servegate.processes.server import ServerProcess
from servegate.records import Checkout

STAGES = ("decode", "queue", "batch", "predict", "encode")
ROLES = ("client", "HTTP", "workers")
_WARMUP_S = 2.0


@dataclass(frozen=True)
class Profile:
    """The result of one load.

    Attributes
    ----------
    stages_ms:
        Mean time of each stage: of a request (decode, queue, encode) or of its batch (batch, predict).
    latency_ms:
        Mean latency that the client measured.
    core_ms:
        CPU time of each role's processes for a request.
    """

    name: str
    requests_per_s: float
    latency_ms: float
    stages_ms: Mapping[str, float]
    core_ms: Mapping[str, float]

    @property
    def rest_ms(self) -> float:
        """The time that no stage measures."""
        return self.latency_ms - sum(self.stages_ms.values())


def profile(server: ServerProcess, clients: ClientProcesses, name: str, job: LoadJob) -> Profile:
    """Load a server and split what a request takes.

    Raises
    ------
    ServegateError
        When an answer is wrong, or the server or a client ends.
    """
    clients.measure(job)
    cpu_s, stages_s = _cpu_s_by_role(server), _stage_totals(server)
    result = clients.read_result(job)
    cpu_end_s, stages_end_s = _cpu_s_by_role(server), _stage_totals(server)
    if result.failures:
        raise ServegateError(f"{name}: {result.failures[0]}")
    answered = len(result.latencies_ms)
    elapsed_s = job.measure_s or 0.0
    # Include the requests in flight at the end, because the server's figures include their CPU time.
    served = stages_end_s["encode"][1] - stages_s["encode"][1]

    def mean_ms(stage: str) -> float:
        seconds, count = (end - start for start, end in zip(stages_s[stage], stages_end_s[stage], strict=True))
        return seconds / count * 1e3

    return Profile(
        name,
        requests_per_s=answered / elapsed_s,
        latency_ms=sum(result.latencies_ms) / answered,
        stages_ms={stage: mean_ms(stage) for stage in STAGES},
        core_ms={
            "client": sum(result.client_cores) * elapsed_s / answered * 1e3,
            **{role: (cpu_end_s[role] - cpu_s[role]) / served * 1e3 for role in ROLES if role != "client"},
        },
    )


def _cpu_s_by_role(server: ServerProcess) -> dict[str, float]:
    """Read the CPU-seconds so far. The processes that LitServe spawns are workers; the others are HTTP."""
    seconds = dict.fromkeys(ROLES, 0.0)
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            times = process.cpu_times()
            role = "workers" if any("spawn_main" in argument for argument in process.cmdline()) else "HTTP"
        except psutil.NoSuchProcess:
            continue  # it has ended since the tree was listed
        seconds[role] += times.user + times.system
    return seconds


def _stage_totals(server: ServerProcess) -> dict[str, tuple[float, float]]:
    """Seconds and count of each stage since the server's start."""
    with requests.Session() as session:
        # Ignore a proxy of the environment, which can't reach a server on this machine.
        session.trust_env = False
        text = session.get(f"{server.url}/metrics", timeout=10).text
    totals = {
        (sample.name, sample.labels["stage"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in ("classifier_stage_seconds_sum", "classifier_stage_seconds_count")
    }
    return {
        stage: (totals["classifier_stage_seconds_sum", stage], totals["classifier_stage_seconds_count", stage])
        for stage in STAGES
    }


def table(profiles: Sequence[Profile]) -> list[str]:
    """Two tables in Markdown: milliseconds of latency by stage, and core-milliseconds by process."""

    def rows(heading: Sequence[str], cells: Callable[[Profile], Sequence[float]]) -> list[str]:
        return [
            f"| load | {' | '.join(heading)} |",
            "|---" * (len(heading) + 1) + "|",
            *(f"| {item.name} | {' | '.join(f'{value:.1f}' for value in cells(item))} |" for item in profiles),
        ]

    return [
        *rows(
            ("requests/s", "latency, ms", *STAGES, "rest"),
            lambda item: (item.requests_per_s, item.latency_ms, *item.stages_ms.values(), item.rest_ms),
        ),
        "",
        *rows(
            ("core-ms a request", *ROLES),
            lambda item: (sum(item.core_ms.values()), *(item.core_ms[role] for role in ROLES)),
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Returns 0, or 1 after a wrong answer or where the server didn't start."""
    parser = argparse.ArgumentParser(prog="python -m tools.profile_request", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (%(default)g)")
    options = parser.parse_args(arguments)
    small, large = cat_workload(cat_jpeg()), cat_workload(large_cat_jpeg())
    loads: list[tuple[str, Workload, int]] = [
        *((f"concurrency {concurrency}", small, concurrency) for concurrency in (1, 8, 64)),
        ("11 megapixels, concurrency 8", large, 8),
    ]
    try:
        with (
            CLASSIFIER.process(Checkout.working_tree(Path(__file__).parents[1])) as server,
            LoadEngine().start() as clients,
        ):
            print(", ".join(f"{name} {value}" for name, value in describe_server(server.url).items()))
            profiles = [
                profile(server, clients, name, LoadJob(server.url, workload, concurrency, _WARMUP_S, options.seconds))
                for name, workload, concurrency in loads
            ]
    except ServegateError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(profiles)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

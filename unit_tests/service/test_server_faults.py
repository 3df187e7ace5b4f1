"""The real server when its processes are killed, hang or get signals: what it had is answered, the rest goes on."""

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from perf_tests.photos import cat_jpeg
from servegate.processes.ports import is_port_free
from servegate.processes.server import ServerProcess
from tools.stress.server_processes import http_processes_of, workers_of
from unit_tests.builders.repository import ROOT
from unit_tests.builders.waiting import wait_until

_SERVER = [sys.executable, "-m", "service.server"]
_TIMEOUT_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server's temporary files."""
    with tempfile.TemporaryDirectory(prefix="server-") as name:
        yield Path(name)


def _started(folder: Path, *flags: str) -> ServerProcess:
    environment = {"TMPDIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": ""}
    return ServerProcess([*_SERVER, *flags], cwd=ROOT, env=environment, ready_deadline_s=180)


def _ask(url: str) -> requests.Response:
    return requests.post(f"{url}/predict", data=cat_jpeg(), headers={"content-type": "image/jpeg"}, timeout=_TIMEOUT_S)


def _is_right(response: requests.Response) -> bool:
    return response.status_code == 200 and response.json()["predictions"][0]["label"] == "Cat"


def _health(url: str) -> int:
    return requests.get(f"{url}/health", timeout=_TIMEOUT_S).status_code


def _workers(server: ServerProcess) -> list[psutil.Process]:
    return workers_of(server.process.pid)


def _living(group: int) -> list[int]:
    living = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # ended while the list was made
    return living


def _asked(pool: ThreadPoolExecutor, server: ServerProcess, count: int) -> list[Future[requests.Response]]:
    """Requests that all are in flight, while its workers stand still."""
    before = _decoded(server)
    answers = [pool.submit(_ask, server.url) for _ in range(count)]
    wait_until(lambda: _decoded(server) == before + count, "all are in flight", 30)
    return answers


def _decoded(server: ServerProcess) -> int:
    text = requests.get(f"{server.url}/metrics", timeout=_TIMEOUT_S).text
    decoded = [line for line in text.splitlines() if line.startswith('classifier_stage_seconds_count{stage="decode"}')]
    return int(float(decoded[0].split()[1])) if decoded else 0


def test_what_a_killed_worker_had_is_refused_and_nothing_else_is_lost(folder: Path) -> None:
    """Those in its batch get a 503, all others their answer; soon both workers are there again."""
    flags = ["--workers-per-device", "2", "--max-batch-size", "8"]
    with _started(folder, *flags) as server, ThreadPoolExecutor(32) as pool:
        kept, killed = _workers(server)
        killed.suspend()  # with its share in hand, or before it takes it
        answers = [pool.submit(_ask, server.url) for _ in range(32)]
        wait_until(lambda: sum(answer.done() for answer in answers) >= 8, "the other one answers", 30)
        killed.kill()
        responses = [answer.result() for answer in answers]
        refused = [response for response in responses if response.status_code == 503]
        assert len(refused) <= 8, "no more than a batch"
        assert all(response.headers["retry-after"] == "1" for response in refused)
        assert sum(map(_is_right, responses)) == 32 - len(refused)
        wait_until(lambda: _health(server.url) == 200 and len(_workers(server)) == 2, "both are there", 60)
        assert kept in _workers(server)
        assert "worker 1 has ended with status -9; a new one starts in 0 s" in server.process.log_tail()
        assert all(_is_right(_ask(server.url)) for _ in range(8))


def _drain(server: ServerProcess, pool: ThreadPoolExecutor) -> None:
    """Stop a server with requests in flight; its only worker predicts them all the same."""
    [worker] = _workers(server)
    worker.suspend()
    answers = _asked(pool, server, 4)
    os.kill(server.process.pid, signal.SIGTERM)
    wait_until(lambda: "Waiting for connections to close" in server.process.log_tail(), "it drains", 25)
    worker.resume()
    assert all(_is_right(answer.result()) for answer in answers)


@pytest.mark.slow
def test_no_request_is_refused_for_want_of_room_that_another_http_process_has(folder: Path) -> None:
    """128 connections over eight HTTP processes, with room for 256 requests in all of them together."""
    flags = ["--api-processes", "8", "--max-requests", "256", "--device", "cpu"]
    with _started(folder, *flags) as server, ThreadPoolExecutor(128) as pool:
        sessions = [requests.Session() for _ in range(128)]

        def ask_ten_times(session: requests.Session) -> list[int]:
            url, headers = f"{server.url}/predict", {"content-type": "image/jpeg"}
            return [
                session.post(url, data=cat_jpeg(), headers=headers, timeout=_TIMEOUT_S).status_code for _ in range(10)
            ]

        answers = [pool.submit(ask_ten_times, session) for session in sessions]
        wait_until(lambda: _decoded(server) > 300, "all have connected", 60)
        open_connections = [
            sum(item.status == psutil.CONN_ESTABLISHED for item in process.net_connections("tcp"))
            for process in http_processes_of(server.process.pid)
        ]
        statuses = Counter(status for answer in answers for status in answer.result())
        assert statuses == {200: 1_280}
        assert len(open_connections) == 8
        assert max(open_connections) - min(open_connections) <= 2, "the metrics have a connection, too"
        for session in sessions:
            session.close()


@pytest.mark.slow
def test_while_the_only_worker_is_replaced_the_service_lives_and_is_not_ready(folder: Path) -> None:
    """What it had is refused, what still waits is predicted by the new one, which also stays until all is answered."""
    with (
        _started(folder, "--workers-per-device", "1", "--max-batch-size", "4") as server,
        ThreadPoolExecutor(16) as pool,
    ):
        [worker] = _workers(server)
        worker.suspend()
        answers = _asked(pool, server, 12)
        worker.kill()
        wait_until(lambda: _health(server.url) == 503, "it is not ready", 30)
        assert requests.get(f"{server.url}/live", timeout=_TIMEOUT_S).status_code == 200
        responses = [answer.result() for answer in answers]
        refused = sum(response.status_code == 503 for response in responses)
        assert refused <= 4
        assert sum(map(_is_right, responses)) == 12 - refused
        assert _health(server.url) == 200
        _drain(server, pool)


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(folder: Path) -> None:
    """Its requests are answered with 503 when it is found out; the new one serves."""
    flags = ["--workers-per-device", "1", "--worker-timeout-s", "1", "--max-batch-size", "64"]
    with _started(folder, *flags) as server, ThreadPoolExecutor(64) as pool:
        [worker] = _workers(server)
        answers = [pool.submit(_ask, server.url) for _ in range(64)]
        wait_until(lambda: any(answer.done() for answer in answers), "it is at work", 30)
        worker.suspend()
        statuses = {answer.result().status_code for answer in answers}
        assert statuses <= {200, 503}
        wait_until(lambda: worker not in _workers(server), "it is gone", 30)
        wait_until(lambda: _health(server.url) == 200, "a new one is ready", 60)
        assert _is_right(_ask(server.url))
        assert "worker 0 has not come back from a batch for 1 s: killed" in server.process.log_tail()


@pytest.mark.slow
def test_past_its_deadline_every_request_has_a_504(folder: Path) -> None:
    """Also one that no worker ever takes."""
    flags = ["--workers-per-device", "1", "--request-timeout-s", "1", "--batch-timeout-s", "0.01"]
    with _started(folder, *flags) as server, ThreadPoolExecutor(8) as pool:
        _workers(server)[0].suspend()
        responses = [answer.result() for answer in [pool.submit(_ask, server.url) for _ in range(8)]]
        assert {response.status_code for response in responses} == {504}
        _workers(server)[0].resume()
        assert _is_right(_ask(server.url))


@pytest.mark.slow
def test_sigterm_to_the_whole_group_drains_what_is_in_flight(folder: Path) -> None:
    """As a supervisor may stop a service: workers and all get it, and every request its answer."""
    with _started(folder, "--workers-per-device", "2") as server, ThreadPoolExecutor(16) as pool:
        process, port = server.process, server.port
        for worker in _workers(server):
            worker.suspend()
        answers = _asked(pool, server, 16)
        os.killpg(process.pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGCONT)
        assert all(_is_right(answer.result()) for answer in answers)
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 0
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)
        assert is_port_free(port)
        assert list(folder.glob("classifier-metrics-*")) == []
        assert "Traceback" not in process.log_tail()


@pytest.mark.slow
def test_a_second_signal_stops_at_once(folder: Path) -> None:
    """It doesn't wait for what is in flight any more; nothing stays all the same."""
    with (
        _started(folder, "--workers-per-device", "1", "--stop-timeout-s", "500") as server,
        ThreadPoolExecutor(4) as pool,
    ):
        process, port = server.process, server.port
        _workers(server)[0].suspend()
        answers = _asked(pool, server, 4)
        os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: "Waiting for connections to close" in process.log_tail(), "it drains", 25)
        os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 130
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)
        assert is_port_free(port)
        assert all(isinstance(answer.exception(), requests.ConnectionError) for answer in answers)


@pytest.mark.slow
def test_no_process_outlives_a_server_that_is_killed(folder: Path) -> None:
    """SIGKILL leaves it no time to tidy up; its children notice by themselves."""
    with _started(folder, "--workers-per-device", "2") as server:
        process, port = server.process, server.port
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: process.returncode is not None and _living(process.pid) == [], "all have ended", 25)
        assert is_port_free(port)


@pytest.mark.slow
def test_http_processes_drain_at_the_same_time_and_answer_what_takes_too_long(folder: Path) -> None:
    """The server waits for one `--stop-timeout-s`, however many they are. Then each request left gets a 500."""
    flags = ["--workers-per-device", "1", "--api-processes", "2", "--stop-timeout-s", "5"]
    with _started(folder, *flags) as server, ThreadPoolExecutor(8) as pool:
        process = server.process
        [worker] = _workers(server)
        worker.suspend()
        answers = _asked(pool, server, 8)
        os.kill(process.pid, signal.SIGTERM)

        def both_drain() -> bool:
            log = process.log_tail()
            return log.count("Waiting for connections") == 2 and "timeout graceful shutdown exceeded" not in log

        wait_until(both_drain, "both drain, and the time of neither is over", 25)
        assert [answer.result().status_code for answer in answers] == [500] * 8
        worker.resume()
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 0
        assert "killed" not in process.log_tail()
        assert "Did not terminate gracefully" not in process.log_tail()
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)


@pytest.mark.slow
def test_without_one_of_its_http_processes_the_server_ends(folder: Path) -> None:
    """Some of its clients would get no answer: status 1, and its log says why. No worker stays for its requests."""
    with _started(folder, "--workers-per-device", "2", "--api-processes", "2") as server:
        process = server.process
        http_processes_of(process.pid)[0].kill()
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 1
        assert process.log_tail().endswith("the server has stopped: an HTTP process has ended")
        assert "Did not terminate gracefully" not in process.log_tail()
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_the_server_starts_ends_it(folder: Path) -> None:
    """As by the kernel for want of memory: status 1, and it says so, where LitServe would wait for ever."""
    server = _started(folder, "--workers-per-device", "1")
    server.launch()
    try:
        process = server.process
        wait_until(lambda: _workers(server) != [], "it has started a worker", 60)
        _workers(server)[0].kill()
        wait_until(lambda: process.returncode is not None, "it has ended", 25)
        assert process.returncode == 1
        assert "the server has stopped: a worker ended with status -9 before it was ready" in process.log_tail()
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)
    finally:
        server.stop()


def test_a_server_that_gets_no_worker_in_time_ends_and_says_so(folder: Path) -> None:
    """LitServe would wait for ever, and so would the process that started it."""
    server = _started(folder, "--workers-per-device", "1", "--start-timeout-s", "0.5")  # torch alone takes longer
    server.launch()
    try:
        process = server.process
        wait_until(lambda: process.returncode is not None, "it has ended", 60)
        assert process.returncode == 1
        assert process.log_tail().endswith(
            "the server has stopped: no worker was ready within 0.5 s (--start-timeout-s)"
        )
        wait_until(lambda: _living(process.pid) == [], "its processes have ended", 10)
    finally:
        server.stop()


@pytest.mark.slow
def test_an_engine_that_was_asked_for_and_cannot_be_had_ends_the_server_with_the_reason(folder: Path) -> None:
    """It doesn't serve with another one, which would be slower."""
    environment = {"TMPDIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": "", "CXX": "no-such-compiler"}
    environment["XDG_CACHE_HOME"] = str(folder)
    command = [*_SERVER, "--workers-per-device", "1", "--device", "cpu", "--engine", "inductor"]
    server = ServerProcess(command, cwd=ROOT, env=environment, ready_deadline_s=180)
    server.launch()
    try:
        process = server.process
        wait_until(lambda: process.returncode is not None, "it has ended", 120)
        assert process.returncode == 1
        assert (
            process.log_tail()
            .splitlines()[-1]
            .startswith(
                "the server did not start: CLASSIFIER_ENGINE (--engine)=inductor can't run the model: "
                "there is no C++ compiler 'no-such-compiler'"
            )
        )
    finally:
        server.stop()

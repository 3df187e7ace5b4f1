"""The load client, as a process of its own against a real server, and how a running load is cut into windows."""

import asyncio
import io
import json
import sys
import time
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from servegate.load import client as load
from servegate.load.client import MEASURE, LoadJob
from servegate.load.engines import LoadEngine
from servegate.load.expected import Lines, Text
from servegate.load.requests import Requester
from servegate.load.results import ClientRecord, cut_windows
from servegate.load.workload import WeightedSet, Workload
from servegate.processes.server import ServerProcess
from unit_tests.builders import stub_server
from unit_tests.builders.load_jobs import job_for, run_clients


def test_throughput_is_concurrency_over_delay(stub: ServerProcess) -> None:
    """Four connections that each wait for the same delay: no time is lost between the requests.

    By Little's law, with the latency as measured, which on a busy machine is longer than the server's delay.
    """
    result = run_clients(job_for(stub, "right", concurrency=4, measure_s=1.5))
    assert result.failures == []
    throughput_per_s = result.requests_per_round / float(np.median(result.rounds_s))
    assert throughput_per_s == pytest.approx(4 / (np.median(result.latencies_ms) / 1e3), rel=0.15)
    assert 0.5 * 4 / stub_server.DELAY_S < throughput_per_s < 1.05 * 4 / stub_server.DELAY_S
    assert min(result.latencies_ms) >= stub_server.DELAY_S * 1e3 - 5  # the server's clock and ours may tick differently
    assert len(result.latencies_ms) >= 2 * 4 + 1
    (client_cores,) = result.client_cores
    assert 0 < client_cores < 0.9


def test_a_service_that_tells_its_stages_is_listened_to(stub: ServerProcess) -> None:
    """In the closed loop as in the open one; the stub's one stage is nearly all of a request's time."""
    closed = job_for(stub, "timed", concurrency=4)
    for job in (closed, replace(closed, rate_per_s=20.0)):
        result = run_clients(job)
        assert list(result.stages) == ["sleep"]
        assert result.stages["sleep"].cpu_ms == pytest.approx(0.25)
        assert stub_server.DELAY_S * 1e3 - 5 <= result.stages["sleep"].ms <= np.mean(result.latencies_ms)
    assert run_clients(job_for(stub, "right", concurrency=4)).stages == {}


def test_a_job_reaches_the_server_as_it_was_given(stub: ServerProcess) -> None:
    """Body and headers arrive, and what comes back is compared with the job's expected answer."""
    expected = {"body": "säge", "type": "text/x-saw"}
    workload = Workload("/predict/echo", "säge".encode(), {"Content-Type": "text/x-saw"}, expected)
    assert run_clients(LoadJob(stub.url, workload, 1, warmup_s=0.0, measure_s=0.1)).failures == []


def test_a_set_of_requests_is_sent_and_each_answer_compared_with_its_own(stub: ServerProcess) -> None:
    """The set has GET and POST requests to two paths; with the answers exchanged, each is wrong."""
    echo = Workload("/predict/echo", b"saw", {"Content-Type": "text/x-saw"}, {"body": "saw", "type": "text/x-saw"})
    health = Workload("/health", b"", expected=Text("ok"), method="GET")
    both = WeightedSet([(1, echo), (1, health)])
    result = run_clients(LoadJob(stub.url, both, 2, warmup_s=0.0, measure_s=0.5))
    assert (result.failures, len(result.latencies_ms) > 4) == ([], True)
    exchanged = WeightedSet([(1, replace(echo, expected=Text("ok"))), (1, replace(health, expected={"body": "saw"}))])
    failures = run_clients(LoadJob(stub.url, exchanged, 2, warmup_s=0.0, measure_s=60.0)).failures
    assert {failure.split(":")[0] for failure in failures} == {'answer is \'{"body"', "not JSON"}


def test_answers_may_differ_within_the_tolerance(stub: ServerProcess) -> None:
    """Different bodies, each right; and the same answers are failures without the tolerance."""
    assert run_clients(job_for(stub, "nearly-right", tolerance=0.01)).failures == []
    failures = run_clients(job_for(stub, "nearly-right")).failures
    assert all("answer.predictions[0].probability is 0.90" in failure for failure in failures)
    assert failures


@pytest.mark.anyio
async def test_the_pieces_of_a_streamed_answer_have_times_of_their_own(stub: ServerProcess) -> None:
    """The stub sends a piece after its delay and the second after another. An answer that is no stream has none."""
    streamed, whole = (
        Workload(f"/predict/{mode}", b"", expected=expected)
        for mode, expected in (("stream", Lines([1, 2])), ("right", stub_server.ANSWER))
    )
    async with aiohttp.ClientSession() as session:
        completions = []
        for workload in (streamed, whole):
            requester = Requester(session, stub.url, workload, number=0)
            await requester.send(time.monotonic())
            completions += requester.completions
    of_streamed, of_whole = completions
    assert of_streamed.first_piece_s is not None
    assert of_streamed.piece_gap_s is not None
    rest_s = of_streamed.duration_s - of_streamed.first_piece_s
    assert rest_s >= of_streamed.piece_gap_s
    assert min(of_streamed.first_piece_s, of_streamed.piece_gap_s) >= stub_server.DELAY_S - 0.005
    assert (of_whole.first_piece_s, of_whole.piece_gap_s) == (None, None)


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        ("sometimes-wrong", "answer.predictions[0].label is 'Dog', expected 'Cat'"),
        ("sometimes-500", "status 500: no memory left"),
        ("no-such-mode", "status 404: no such mode"),
        ("not-json", "not JSON: b'<html>'"),
        ("closes", "no answer: ServerDisconnectedError"),
    ],
)
def test_failures_say_what_was_wrong_and_end_the_load(stub: ServerProcess, mode: str, wrong: str) -> None:
    """Every answer is checked, also one in three among right ones; the load was to last an hour and has no figure."""
    result = run_clients(job_for(stub, mode, measure_s=3600.0))
    assert all(failure.startswith(wrong) for failure in result.failures), result.failures
    assert 5 <= len(result.failures) <= 5 + 2  # the load ends with the fifth; another connection may be on its way
    assert result.rounds_s == []


def test_nobody_listening_is_a_failure_too() -> None:
    job = LoadJob("http://127.0.0.1:9", Workload("/predict", b"", expected={}), 1, warmup_s=0.1, measure_s=3600.0)
    result = run_clients(job)
    assert all("ClientConnectorError" in failure for failure in result.failures)
    assert len(result.failures) == 5


def test_a_request_that_is_never_answered_is_a_failure(
    stub: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The load waits for requests in flight until their timeout, and says so of each."""
    monkeypatch.setattr(load, "_REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{job_for(stub, 'never').to_json()}\n{MEASURE}\n"))
    assert load.main() == 0
    warm, measuring, result_line = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in (warm, measuring)] == [{"warm": True}, {"told": MEASURE}]
    record = ClientRecord.from_json(result_line)
    assert record.completions == []
    assert record.failures
    assert all(failure.startswith("no answer: ") and "Timeout" in failure for failure in record.failures)


def test_a_slow_server_gets_more_time_than_asked(stub: ServerProcess) -> None:
    """Two requests a connection complete, although the asked time is over before the first."""
    job = job_for(stub, "right", measure_s=0.14)
    assert job.measure_s is not None
    assert job.measure_s < stub_server.DELAY_S
    result = run_clients(job)
    assert len(result.latencies_ms) >= 2 * job.concurrency + 1
    assert result.rounds_s


def test_a_load_goes_on_until_it_is_told_to_stop(stub: ServerProcess) -> None:
    """Every completion since the warm-up is reported, on the clock of whoever tells it; then the next job can come."""
    job = replace(job_for(stub, "right", concurrency=4), measure_s=None)
    with LoadEngine(processes=1).start() as clients:
        clients.measure(job)
        start_s = time.monotonic()
        time.sleep(5 * stub_server.DELAY_S)
        end_s = time.monotonic()
        record = clients.stop()
        clients.measure(job)
    in_time = [item for item in record.completions if start_s <= item.at_s <= end_s]
    assert len(in_time) >= 4
    assert all(item.duration_s >= stub_server.DELAY_S - 0.005 for item in record.completions)
    assert record.failures == []
    began_s, ended_s = record.measured_s
    assert began_s <= start_s < end_s <= ended_s


def test_what_was_answered_in_the_warm_up_is_left_out(stub: ServerProcess) -> None:
    """A warm load goes on until it is measured, also where another client takes longer to warm up."""
    job = replace(job_for(stub, "right", concurrency=4), warmup_s=1.0, measure_s=None)
    with LoadEngine(processes=1).start() as clients:
        clients.measure(job)
        record = clients.stop()
    assert record.completions  # those in flight at the end at least
    assert all(item.at_s >= record.clients[0].began_s for item in record.completions)


@given(concurrency=st.integers(1, 100), processes=st.integers(1, 20))
def test_the_shares_of_a_job_are_even_and_add_up_to_it(concurrency: int, processes: int) -> None:
    job = LoadJob("http://127.0.0.1:1", Workload("/predict", b"", expected={}), concurrency, 0.5, 2.0, 30.0)
    shares = job.split(processes)
    connections = [share.concurrency for share in shares]
    assert len(shares) == min(concurrency, processes)
    assert sum(connections) == concurrency
    assert 1 <= max(connections) <= min(connections) + 1
    rates_per_s = [share.rate_per_s or 0.0 for share in shares]
    assert sum(rates_per_s) == pytest.approx(30.0)
    assert [rate / count for rate, count in zip(rates_per_s, connections, strict=True)] == pytest.approx(
        [30.0 / concurrency] * len(shares)
    )
    assert [share.number for share in shares] == list(range(len(shares)))
    assert all(replace(share, concurrency=concurrency, rate_per_s=30.0, number=0) == job for share in shares)


def test_a_job_of_one_process_is_whole() -> None:
    job = LoadJob("http://127.0.0.1:1", Workload("/predict", b"", expected={}), 8, warmup_s=0.5, measure_s=2.0)
    assert job.split(1) == [job]


def test_a_job_travels_as_one_line() -> None:
    workload = Workload("/predict", b"\x00\n\xff", {"A": "b"}, expected={"x": [1, None, "ü"]}, tolerance=0.5)
    job = LoadJob("http://127.0.0.1:1", workload, 8, warmup_s=0.5, measure_s=2.0)
    line = job.to_json()
    assert "\n" not in line
    assert LoadJob.from_json(line) == job


# Seconds between completions: from a burst to a stall.
gaps_s = st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=300)


@given(gaps_s, st.integers(1, 64))
def test_windows_hold_equally_many_completions_and_cover_the_load(gaps: list[float], concurrency: int) -> None:
    """They follow one another from the first completion on, and leave less than a window at the end."""
    completed_at_s = np.cumsum(gaps).tolist()
    windows_s, size = cut_windows(completed_at_s, concurrency)
    assert size >= concurrency
    assert size % concurrency == 0
    if len(completed_at_s) <= concurrency:
        assert windows_s == []
        return
    assert len(windows_s) == (len(completed_at_s) - 1) // size >= 1
    assert sum(windows_s) == pytest.approx(completed_at_s[len(windows_s) * size] - completed_at_s[0])
    for number, window_s in enumerate(windows_s):
        inside = [
            at for at in completed_at_s if completed_at_s[number * size] < at <= completed_at_s[(number + 1) * size]
        ]
        assert len(inside) == size
        assert window_s == pytest.approx(inside[-1] - completed_at_s[number * size])


@given(rate_per_s=st.floats(1.0, 5000.0), concurrency=st.integers(1, 64), measured_s=st.floats(1.0, 5.0))
def test_windows_last_half_a_second_where_the_load_is_long_enough(
    rate_per_s: float, concurrency: int, measured_s: float
) -> None:
    completed_at_s = (np.arange(int(rate_per_s * measured_s) + 2) / rate_per_s).tolist()
    windows_s, _ = cut_windows(completed_at_s, concurrency)
    generation_s = concurrency / rate_per_s
    assume(completed_at_s[-1] >= 0.5 + 2 * generation_s)
    for window_s in windows_s:
        assert 0.5 - 1e-6 <= window_s <= 0.5 + generation_s + 1e-6


@given(
    concurrency=st.integers(2, 64),
    bursts=st.integers(3, 30),
    period_s=st.floats(0.05, 2.0),
)
def test_bursts_of_a_batching_server_give_its_true_throughput(concurrency: int, bursts: int, period_s: float) -> None:
    """A batch completes all its requests within a moment; a window counts whole batches, however short the load."""
    moment_s = 1e-6
    completed_at_s = [burst * period_s + place * moment_s for burst in range(bursts) for place in range(concurrency)]
    windows_s, size = cut_windows(completed_at_s, concurrency)
    assert windows_s
    for window_s in windows_s:
        assert size / window_s == pytest.approx(concurrency / period_s, rel=1e-6)


@pytest.mark.parametrize("completions", [0, 1, 8])
def test_too_few_completions_make_no_window(completions: int) -> None:
    assert cut_windows([float(at) for at in range(completions)], concurrency=8) == ([], 8)


def test_a_request_whose_connection_is_lost_is_not_sent_again() -> None:
    """The client's library would repeat a GET, and a service that loses answers would seem to be right."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def ask_twice() -> Requester:
        server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
        workload = Workload("/", b"", expected=True, method="GET")
        job = LoadJob(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", workload, 1, 0.0, None)
        async with server, load.open_session(job) as session:
            requester = Requester(session, job.url, job.workload, 0)
            for _ in range(2):
                await requester.send(time.monotonic())
        return requester

    requester = asyncio.run(ask_twice())
    assert len(requester.completions) == 1
    [failure] = requester.failures
    assert failure.startswith("no answer: ServerDisconnectedError")


def test_a_load_that_may_be_paused_gives_its_requests_more_time() -> None:
    """While the other arm's server runs, the clock goes on."""
    fixed = LoadJob("http://127.0.0.1:9", Workload("/", b"", expected=True), 1, warmup_s=1.0, measure_s=2.0)
    assert replace(fixed, measure_s=None).request_timeout_s == 2 * fixed.request_timeout_s == 120.0

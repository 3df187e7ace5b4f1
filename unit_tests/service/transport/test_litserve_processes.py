"""LitServe starts, names and ends its processes as the service relies on it; see `test_litserve.py` beside this."""

import asyncio
import multiprocessing
import os
from types import SimpleNamespace
from typing import Any

import litserve.server
import pytest
import uvicorn
from litserve import LitAPI, LitServer
from litserve.loops import inference_worker
from litserve.utils import WorkerSetupStatus


class _Api(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Is never called."""

    def setup(self, device: str) -> None:
        raise AssertionError(device)

    def predict(self, x: object) -> object:
        raise AssertionError(x)


class _Process:
    """Notes what LitServe does with a process."""

    pid = 1
    ident = 1

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self._calls = name, calls

    def is_alive(self) -> bool:
        return "terminate " + self.name not in self._calls

    def terminate(self) -> None:
        self._calls.append("terminate " + self.name)

    def join(self, timeout: float | None = None) -> None:
        pass


class _RecordingServer(LitServer):  # type: ignore[misc]
    """Runs without a process of its own, until the KeyboardInterrupt that comes at once."""

    worker_status = "ready"

    def __init__(self) -> None:
        super().__init__(_Api(), accelerator="cpu")
        self.calls: list[str] = []
        self.started_with: list[tuple[Any, ...]] = []
        self.ended_with: list[tuple[Any, ...]] = []

    def _init_manager(self, num_api_servers: int) -> Any:
        self.calls.append(f"_init_manager {num_api_servers}")
        self.workers_setup_status = {"predict_0": self.worker_status}
        self._shutdown_event = SimpleNamespace(wait=self._interrupt)
        self._transport = SimpleNamespace(close=lambda **_: self.calls.append("close"))
        return SimpleNamespace(shutdown=lambda: self.calls.append("manager shutdown"))

    def _interrupt(self) -> None:
        raise KeyboardInterrupt

    def launch_inference_worker(self, lit_api: LitAPI) -> list[_Process]:
        assert lit_api is self.lit_api
        self.calls.append("launch_inference_worker")
        return [_Process("worker", self.calls)]

    def _perform_graceful_shutdown(self, *arguments: Any) -> None:
        self.calls.append("_perform_graceful_shutdown")
        self.ended_with.append(arguments)
        super()._perform_graceful_shutdown(*arguments)

    def _start_server(self, *arguments: Any, **_: Any) -> dict[int, _Process]:
        self.calls.append("_start_server")
        self.started_with.append(arguments)
        return {0: _Process("HTTP process", self.calls)}

    def _start_worker_monitoring(self, *_: Any) -> None:
        self.calls.append("_start_worker_monitoring")


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> _RecordingServer:
    """A server whose `run` binds no socket and leaves LitServe's logger as it is."""
    monkeypatch.setattr(uvicorn.Config, "bind_socket", lambda _: None)
    monkeypatch.setattr(litserve.server, "configure_logging", lambda *_, **__: None)
    return _RecordingServer()


def _run(server: LitServer) -> None:
    server.run(host="127.0.0.1", port=8000, num_api_servers=2, generate_client_file=False)


def test_1_the_manager_is_made_before_any_process_and_only_once(recording: _RecordingServer) -> None:
    _run(recording)
    assert recording.calls[:2] == ["_init_manager 2", "launch_inference_worker"], (
        "LitServer.run doesn't call _init_manager(num_api_servers) before it starts the workers any more"
    )
    assert recording.calls.count("_init_manager 2") == 1, "LitServer.run calls _init_manager more than once"


def test_3_the_transport_is_closed_at_the_end(recording: _RecordingServer) -> None:
    _run(recording)
    assert "close" in recording.calls, "LitServer.run doesn't call close(send_sentinel=...) of its transport any more"


@pytest.mark.parametrize("monitored", [True, False])
def test_10_litserve_does_not_watch_the_workers_if_it_is_told_so(monitored: bool, recording: _RecordingServer) -> None:
    recording._monitor_workers = monitored
    _run(recording)
    assert ("_start_worker_monitoring" in recording.calls) == monitored, (
        "LitServer._monitor_workers doesn't decide whether LitServe watches its workers any more"
    )


class _Context:
    """multiprocessing's context, by its name; its processes are never started."""

    def __init__(self, method: str) -> None:
        self._method = method

    def Process(self, target: Any, args: tuple[Any, ...], name: str) -> SimpleNamespace:  # noqa: N802
        made = SimpleNamespace(method=self._method, target=target, args=args, name=name, is_started=False)
        made.start = lambda: setattr(made, "is_started", True)
        return made


def test_11_and_16_a_worker_can_be_started_anew(recording: _RecordingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(recording)
    assert [worker.name for worker in recording.inference_workers] == ["worker"], (
        "LitServer.inference_workers is not the list of the workers' processes any more"
    )
    monkeypatch.setattr(multiprocessing, "get_context", _Context)
    server, queue, transport = LitServer(_Api(), accelerator="cpu", workers_per_device=2), object(), object()
    server.litapi_request_queues[server.lit_api.api_path], server._transport = queue, transport
    server.workers_setup_status = {}
    process = server.launch_single_inference_worker(server.lit_api, 1)
    assert (process.is_started, process.target, process.method) == (True, inference_worker, "spawn"), (
        "launch_single_inference_worker doesn't return a spawned process any more"
    )
    assert process.args[:5] == (server.lit_api, "cpu", 1, queue, transport), (
        "launch_single_inference_worker doesn't start the worker of that number with the server's transport any more"
    )
    assert server.workers_setup_status == {"predict_1": WorkerSetupStatus.STARTING}, (
        "launch_single_inference_worker doesn't note by `predict_` and the number that the worker starts any more"
    )


def test_12_http_processes_are_forked_and_returned_and_have_a_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_context", _Context)
    server, protocol = LitServer(_Api(), accelerator="cpu"), asyncio.Protocol
    server.uvicorn_graceful_timeout = 8
    started = server._start_server(8000, 2, "info", [], "process", http=protocol)
    assert list(started) == [0, 1], "_start_server doesn't return the HTTP processes by number any more"
    assert {process.method for process in started.values()} == {"fork"}, "LitServe doesn't fork its HTTP processes now"
    configs = [process.target.__self__.config for process in started.values()]
    assert [config.app.response_queue_id for config in configs] == [0, 1], "HTTP processes aren't numbered from 0"
    assert {config.timeout_graceful_shutdown for config in configs} == {8}, "uvicorn_graceful_timeout has no effect"
    assert {config.http for config in configs} == {protocol}, "LitServe doesn't pass keyword arguments to uvicorn now"


def test_14_the_http_processes_get_the_sockets_and_a_number(
    recording: _RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn.Config, "bind_socket", lambda _: "the socket")
    _run(recording)
    [(port, processes, _, sockets, kind)] = recording.started_with
    assert (port, processes, sockets, kind) == (8000, 2, ["the socket"], "process"), (
        "LitServer.run doesn't call _start_server(port, HTTP processes, log level, [socket], kind) any more"
    )
    monkeypatch.setattr(multiprocessing, "get_context", _Context)
    server, given = LitServer(_Api(), accelerator="cpu"), [object()]
    started = server._start_server(8000, 2, "info", given, "process")
    assert [process.args for process in started.values()] == [(0, given), (1, given)], (
        "LitServe doesn't pass the sockets on to its HTTP processes any more"
    )
    numbers: list[str] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_: numbers.append(os.environ["LITSERVE_WORKER_ID"]))
    monkeypatch.setenv("LITSERVE_WORKER_ID", "set by LitServe and put back at the end")
    for process in started.values():
        process.target(*process.args)
    assert numbers == ["0", "1"], "LITSERVE_WORKER_ID doesn't hold the number of the HTTP process any more"


def test_15_the_end_is_announced_before_any_process_is_ended(recording: _RecordingServer) -> None:
    _run(recording)
    assert recording.calls[-5:] == [
        "_perform_graceful_shutdown", "close", "terminate HTTP process", "terminate worker", "manager shutdown",
    ], "LitServer.run doesn't end by _perform_graceful_shutdown any more"  # fmt: skip
    [(manager, http_processes, reason)] = recording.ended_with
    assert hasattr(manager, "shutdown"), "_perform_graceful_shutdown doesn't get the manager first any more"
    assert [process.name for process in http_processes.values()] == ["HTTP process"], (
        "_perform_graceful_shutdown doesn't get the HTTP processes second any more"
    )
    assert reason == "keyboard_interrupt", "_perform_graceful_shutdown doesn't get the reason third any more"


def test_15_given_no_http_processes_it_ends_the_workers_and_the_manager(recording: _RecordingServer) -> None:
    _run(recording)
    [(manager, _, reason)] = recording.ended_with
    recording.calls.clear()
    recording._perform_graceful_shutdown(manager, {}, reason)
    assert recording.calls == ["_perform_graceful_shutdown", "close", "terminate worker", "manager shutdown"], (
        "LitServer._perform_graceful_shutdown needs HTTP processes now, or does other things without them"
    )


def test_13_an_interrupted_server_drains(recording: _RecordingServer) -> None:
    _run(recording)
    assert recording.calls[-3:] == ["terminate HTTP process", "terminate worker", "manager shutdown"], (
        "LitServer.run doesn't end the HTTP processes first and then the workers on KeyboardInterrupt any more"
    )


def test_13_a_worker_whose_setup_fails_ends_the_server(recording: _RecordingServer) -> None:
    recording.worker_status = "error"
    with pytest.raises(RuntimeError, match="workers failed to start"):
        _run(recording)

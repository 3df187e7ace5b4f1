"""LitServe is as the service relies on it: a test for each line of the list in `service.transport`, by its number.

A test that fails here after an update of LitServe says what has changed: what the list names must be adapted to it. The
lines about processes are in `test_litserve_processes.py`.
"""

import ast
import asyncio
import re
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from typing import Any

import litserve
import litserve.server
import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from httpx import Response as Answer
from litserve import LitAPI, LitServer
from litserve.callbacks import CallbackRunner
from litserve.loops import LitLoop, inference_worker
from litserve.transport.base import MessageTransport
from litserve.utils import WorkerSetupStatus
from packaging.requirements import Requirement

import service.transport
from unit_tests.builders.repository import ROOT

_HTTP_PROCESS = 3
_WORKER = 7


class _Api(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Is put together and set up; nothing else of it is called."""

    def setup(self, device: str) -> None:
        self.name = f"an API on {device}"

    def predict(self, x: object) -> object:
        raise AssertionError(x)


class _Transport(MessageTransport):  # type: ignore[misc]
    """LitServe's transport; no answer ever comes."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.awaited: list[int] = []
        self.cancelled: list[int] = []

    async def areceive(self, consumer_id: int) -> Any:
        self.awaited.append(consumer_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(consumer_id)
            raise

    def send(self, item: Any, consumer_id: int) -> None:
        self.sent.append((consumer_id, item))


def _server(api: LitAPI, transport: _Transport, **options: Any) -> LitServer:
    server = LitServer(api, accelerator="cpu", **options)
    server._transport = transport
    server.workers_setup_status = {}
    server.app.response_queue_id = _HTTP_PROCESS
    return server


async def _ask(server: LitServer, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    async with (
        LifespanManager(server.app) as lifespan,
        AsyncClient(transport=ASGITransport(lifespan.app), base_url="http://test") as client,
    ):
        return await client.request(method, path, headers=headers)


def test_the_installed_version_is_one_of_those_that_are_allowed() -> None:
    """The bounds in pyproject.toml are those of the versions that these tests have seen."""
    requirements = re.findall(r'"(litserve *[<>=!~][^"]*)"', (ROOT / "pyproject.toml").read_text())
    assert requirements, "pyproject.toml doesn't bound litserve: an update could break the service unseen"
    for requirement in map(Requirement, requirements):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert "<" in operators, f"{requirement} has no upper bound: an update could break the service unseen"
        assert version("litserve") in requirement.specifier, f"{requirement} doesn't allow the installed version"


def test_the_list_names_all_that_the_service_imports_from_litserve() -> None:
    """What is not in the list is held by no test."""
    imported = {
        name.name
        for path in (ROOT / "service").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "litserve"
        for name in node.names
    }
    assert len(imported) >= 4
    missing = {name for name in imported if f"{name}" not in str(service.transport.__doc__)}
    assert not missing, f"the list in service/transport/__init__.py doesn't name {', '.join(sorted(missing))}"


@pytest.mark.anyio
async def test_2_a_method_of_its_own_adds_the_endpoint() -> None:
    registered: list[LitAPI] = []

    class WithoutEndpoint(LitServer):  # type: ignore[misc]
        def _register_api_endpoints(self, lit_api: LitAPI, request_type: object, response_type: object) -> None:
            registered.append(lit_api)

    api = _Api()
    server = WithoutEndpoint(api, accelerator="cpu")
    assert registered == [api], "the constructor doesn't call _register_api_endpoints for its API any more"
    server._transport, server.app.response_queue_id = _Transport(), _HTTP_PROCESS
    answer = await _ask(server, "POST", api.api_path)
    assert answer.status_code == 404, "LitServe adds the endpoint elsewhere than in _register_api_endpoints now"


@pytest.mark.anyio
async def test_3_and_5_an_http_process_awaits_answers_by_its_number_until_it_ends() -> None:
    transport = _Transport()
    async with LifespanManager(_server(_Api(), transport).app):
        await asyncio.sleep(0)
        assert transport.awaited == [_HTTP_PROCESS], "areceive isn't awaited once, with the app's response_queue_id"
        assert transport.cancelled == []
    assert transport.awaited == transport.cancelled, "areceive isn't cancelled at the end of the HTTP process"


def test_4_a_transport_is_what_has_send_areceive_and_close() -> None:
    assert MessageTransport.__abstractmethods__ == {"send", "areceive"}, "a MessageTransport must do other things now"
    assert callable(MessageTransport.close), "a MessageTransport has no close any more"


@pytest.mark.anyio
async def test_6_authorize_replaces_the_check_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litserve.server, "LIT_SERVER_API_KEY", "secret")
    refused = await _ask(_server(_Api(), _Transport()), "GET", "/health", {"X-API-Key": "wrong"})
    assert refused.status_code == 401, "LIT_SERVER_API_KEY is not the key that LitServe checks any more"

    async def admit() -> None:
        pass

    api = _Api()
    api.authorize = admit
    answer = await _ask(_server(api, _Transport()), "GET", "/health")
    assert answer.status_code == 503, "LitAPI.authorize doesn't replace LitServe's own check of the key any more"


class _Loop(LitLoop):  # type: ignore[misc]
    """Runs three times, and then ends its worker."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.workers: list[int | None] = []

    def run(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        self.workers.append(self.worker_id)
        if len(self.calls) == 3:
            raise SystemExit(0)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> _Loop:
    """The loop of a worker that has ended."""
    monkeypatch.setenv("LITSERVE_WORKER_ID", "set by the worker and put back at the end")
    queue, transport, loop = Queue[Any](), _Transport(), _Loop()
    api = _Api(max_batch_size=2, batch_timeout=0.01, loop=loop)
    server = _server(api, transport)
    statuses = {f"predict_{_WORKER}": WorkerSetupStatus.STARTING}
    with pytest.raises(SystemExit):
        inference_worker(api, "cpu", _WORKER, queue, transport, statuses, CallbackRunner(), server.restart_workers)
    assert {arguments[:5] for arguments in loop.calls} == {(api, "cpu", _WORKER, queue, transport)}, (
        "a worker doesn't call LitLoop.run(lit_api, device, worker, queue, transport, ...) any more"
    )
    assert api.name == "an API on cpu", "a worker doesn't call LitAPI.setup(device) before that any more"
    assert transport.sent == []
    assert statuses == {f"predict_{_WORKER}": WorkerSetupStatus.READY}, (
        "a worker doesn't note by `predict_` and its number that it is ready any more"
    )
    return loop


def test_7_a_worker_runs_its_loop_again_and_again(worked: _Loop) -> None:
    assert len(worked.calls) == 3, "a worker doesn't call LitLoop.run until that raises SystemExit any more"


def test_8_a_worker_sends_nothing_by_itself() -> None:
    """What it sends comes from LitServe's own loops, and the service has none of them."""
    senders = {
        path.name
        for path in Path(litserve.__path__[0]).rglob("*.py")
        if "transport.send(" in path.read_text() and path.parent.name != "transport"
    }
    assert senders == {"base.py"}, f"LitServe sends answers in {senders}, and not only in loops/base.py"


def test_9_the_loop_knows_the_number_of_its_worker(worked: _Loop) -> None:
    assert set(worked.workers) == {_WORKER}, "LitLoop.worker_id isn't the worker's number any more"


def test_9_workers_take_the_devices_in_turn() -> None:
    server = LitServer(_Api(), accelerator="cuda", devices=2, workers_per_device=2)
    devices = server._inference_workers_config_for_api("/predict")
    assert devices == [["cuda:0"], ["cuda:1"]] * 2, "worker n doesn't compute on device n modulo their number any more"


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "answer"), [(WorkerSetupStatus.STARTING, 503), (WorkerSetupStatus.READY, 200)])
async def test_16_health_says_whether_all_workers_are_ready(status: str, answer: int) -> None:
    api = _Api()
    server = _server(api, _Transport())
    server.workers_setup_status = {"predict_0": WorkerSetupStatus.READY, "predict_1": status}
    assert (await _ask(server, "GET", "/health")).status_code == answer, (
        "/health doesn't go by LitServer.workers_setup_status any more"
    )

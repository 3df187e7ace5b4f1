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
from typing import Annotated, Any

import litserve
import litserve.server
import pytest
from asgi_lifespan import LifespanManager
from fastapi import Depends, Response
from httpx import ASGITransport, AsyncClient
from httpx import Response as Answer
from litserve import LitAPI, LitServer
from litserve.callbacks import CallbackRunner
from litserve.loops import LitLoop, inference_worker
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType
from packaging.requirements import Requirement

import service.transport
from unit_tests.builders.repository import ROOT

_HTTP_PROCESS = 3
_WORKER = 7


async def _read() -> str:
    return "what the dependency has read"


class _Api(LitAPI):  # type: ignore[misc]  # litserve ships no types
    """Is put together and set up; nothing else of it is called."""

    def setup(self, device: str) -> None:
        self.name = f"an API on {device}"

    def decode_request(self, request: Annotated[str, Depends(_read)]) -> str:
        return request

    def predict(self, x: object) -> object:
        raise AssertionError(x)


class _Transport(MessageTransport):  # type: ignore[misc]
    """LitServe's request queue and transport in one; each request is answered at once with its own text."""

    def __init__(self) -> None:
        self.put_items: list[Any] = []
        self.sent: list[Any] = []
        self.consumers: set[int] = set()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        self.put_items.append(item)
        answer = Response(f"answer to {item[3]}", 202)
        self._answers.put_nowait((item[1], (answer, LitAPIStatus.OK, LoopResponseType.REGULAR, None)))

    async def areceive(self, consumer_id: int) -> Any:
        self.consumers.add(consumer_id)
        return await self._answers.get()

    def send(self, item: Any, consumer_id: int) -> None:
        self.sent.append((consumer_id, item))


def _server(api: LitAPI, transport: _Transport, **options: Any) -> LitServer:
    server = LitServer(api, accelerator="cpu", **options)
    server.litapi_request_queues[api.api_path] = transport
    server._transport = transport
    server.workers_setup_status = {}
    server.app.response_queue_id = _HTTP_PROCESS
    return server


async def _post(server: LitServer, headers: dict[str, str] | None = None) -> Answer:
    async with (
        LifespanManager(server.app) as lifespan,
        AsyncClient(transport=ASGITransport(lifespan.app), base_url="http://test") as client,
    ):
        return await client.post(server.lit_api.api_path, headers=headers)


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
    assert len(imported) >= 7
    missing = {name for name in imported if f"{name}" not in str(service.transport.__doc__)}
    assert not missing, f"the list in service/transport/__init__.py doesn't name {', '.join(sorted(missing))}"


@pytest.mark.anyio
async def test_2_and_3_a_request_goes_into_the_queue_and_its_answer_comes_from_the_transport() -> None:
    transport = _Transport()
    answer = await _post(_server(_Api(), transport))
    assert len(transport.put_items) == 1, "the endpoint doesn't put requests into litapi_request_queues[api_path]"
    [(process, uid, put_at_s, request)] = transport.put_items
    assert (process, type(uid), type(put_at_s), type(request)) == (_HTTP_PROCESS, str, float, str), (
        "what the endpoint puts into its queue is not (HTTP process, id, time, request) any more"
    )
    assert (answer.status_code, answer.text) == (202, f"answer to {request}"), (
        "what areceive returns, (id, (response, status, type, worker)), isn't the request's answer any more"
    )


def test_4_a_transport_is_what_has_send_areceive_and_close() -> None:
    assert MessageTransport.__abstractmethods__ == {"send", "areceive"}, "a MessageTransport must do other things now"
    assert callable(MessageTransport.close), "a MessageTransport has no close any more"


@pytest.mark.anyio
async def test_5_the_app_knows_the_number_of_its_http_process() -> None:
    transport = _Transport()
    await _post(_server(_Api(), transport))
    assert transport.consumers == {_HTTP_PROCESS}, "app.response_queue_id is not the number that areceive gets"


@pytest.mark.anyio
async def test_6_the_annotation_of_decode_request_is_resolved_in_the_http_process() -> None:
    transport = _Transport()
    await _post(_server(_Api(), transport))
    assert transport.put_items[0][3] == "what the dependency has read", (
        "the endpoint doesn't take its parameter from the annotation of LitAPI.decode_request any more"
    )


@pytest.mark.anyio
async def test_7_authorize_replaces_the_check_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litserve.server, "LIT_SERVER_API_KEY", "secret")
    refused = await _post(_server(_Api(), _Transport()), {"X-API-Key": "wrong"})
    assert refused.status_code == 401, "LIT_SERVER_API_KEY is not the key that LitServe checks any more"

    async def admit() -> None:
        pass

    api = _Api()
    api.authorize = admit
    answer = await _post(_server(api, _Transport()))
    assert answer.status_code == 202, "LitAPI.authorize doesn't replace LitServe's own check of the key any more"


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
    with pytest.raises(SystemExit):
        inference_worker(api, "cpu", _WORKER, queue, transport, {}, CallbackRunner(), server.restart_workers)
    assert {arguments[:5] for arguments in loop.calls} == {(api, "cpu", _WORKER, queue, transport)}, (
        "a worker doesn't call LitLoop.run(lit_api, device, worker, queue, transport, ...) any more"
    )
    assert api.name == "an API on cpu", "a worker doesn't call LitAPI.setup(device) before that any more"
    assert transport.sent == []
    return loop


def test_8_a_worker_runs_its_loop_again_and_again(worked: _Loop) -> None:
    assert len(worked.calls) == 3, "a worker doesn't call LitLoop.run until that raises SystemExit any more"


def test_9_a_worker_sends_nothing_by_itself() -> None:
    """What it sends comes from LitServe's own loops, and the service has none of them."""
    senders = {
        path.name
        for path in Path(litserve.__path__[0]).rglob("*.py")
        if "transport.send(" in path.read_text() and path.parent.name != "transport"
    }
    assert senders == {"base.py"}, f"LitServe sends answers in {senders}, and not only in loops/base.py"


def test_10_the_loop_knows_the_number_of_its_worker(worked: _Loop) -> None:
    assert set(worked.workers) == {_WORKER}, "LitLoop.worker_id isn't the worker's number any more"

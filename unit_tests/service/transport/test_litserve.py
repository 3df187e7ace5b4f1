"""LitServe is as the service relies on it: a test for each line of the list in `service.transport`, by its number.

A test that fails here after an update of LitServe says what has changed: what the list names must be adapted to it. The
lines about processes are in `test_litserve_processes.py`.
"""

import ast
import asyncio
import re
from importlib.metadata import version
from queue import Queue
from typing import Annotated, Any

import litserve.server
import pytest
from asgi_lifespan import LifespanManager
from fastapi import Depends, Response
from httpx import ASGITransport, AsyncClient
from httpx import Response as Answer
from litserve import LitAPI, LitServer
from litserve.callbacks import CallbackRunner
from litserve.loops import BatchedLoop, inference_worker
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
    """Answers each input in capitals, and raises for an empty one."""

    def setup(self, device: str) -> None:
        self.name = f"an API on {device}"

    def decode_request(self, request: Annotated[str, Depends(_read)]) -> str:
        return request

    def predict(self, x: list[str]) -> list[str]:
        if not all(x):
            raise ValueError("an empty input")
        return [item.upper() for item in x]

    def encode_response(self, output: str) -> Response:
        return Response(output)


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


class _Loop(BatchedLoop):  # type: ignore[misc]
    """Has two batches: one that is answered, and one that fails."""

    def __init__(self) -> None:
        super().__init__()
        self._batches = [[(0, 5, "a"), (1, 6, "b")], [(1, 8, "")]]

    def get_batch_requests(self, lit_api: LitAPI, request_queue: Any, transport: Any) -> tuple[list[Any], list[Any]]:
        assert (type(lit_api), type(request_queue), type(transport)) == (_Api, Queue, _Transport)
        if not self._batches:
            raise SystemExit(0)
        return self._batches.pop(0), []


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a worker has sent to the transport for the batches of its loop."""
    monkeypatch.setenv("LITSERVE_WORKER_ID", "set by the worker and put back at the end")
    transport, loop = _Transport(), _Loop()
    api = _Api(max_batch_size=2, batch_timeout=0.01, loop=loop)
    server = _server(api, transport)
    with pytest.raises(SystemExit):
        inference_worker(api, "cpu", _WORKER, Queue(), transport, {}, CallbackRunner(), server.restart_workers)
    return transport.sent


def test_8_the_loop_takes_its_batches_from_get_batch_requests(worked: list[Any]) -> None:
    requests = [(consumer, uid) for consumer, (uid, _) in worked]
    assert requests == [(0, 5), (1, 6), (1, 8)], (
        "BatchedLoop doesn't answer the (HTTP process, id, input) that get_batch_requests returns any more"
    )


def test_9_the_loop_sends_each_answer_with_its_status(worked: list[Any]) -> None:
    sent = {uid: answer for _, (uid, answer) in worked}
    regular = LoopResponseType.REGULAR
    assert [(sent[uid][0].body, *sent[uid][1:3]) for uid in (5, 6)] == [
        (b"A", LitAPIStatus.OK, regular),
        (b"B", LitAPIStatus.OK, regular),
    ], "BatchedLoop doesn't send (id, (answer, OK, REGULAR, worker)) any more"
    assert sent[8][1:3] == (LitAPIStatus.ERROR, regular), "BatchedLoop doesn't send ERROR when a hook raises any more"


def test_10_the_loop_knows_the_number_of_its_worker(worked: list[Any]) -> None:
    assert {answer[3] for _, (_, answer) in worked} == {_WORKER}, "LitLoop.worker_id isn't the worker's number any more"

"""Who is let in, and how many at a time; what is refused never reaches the application."""

import asyncio
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from httpx import ASGITransport, AsyncClient, Response
from starlette.types import Receive, Scope, Send

from service.transport.capacity import Capacity
from service.web.admission import Admission
from unit_tests.builders.repository import ROOT

pytestmark = pytest.mark.anyio


class _Application:
    """Answers when it is told to; `inside` counts the requests that it has."""

    def __init__(self) -> None:
        self.inside = 0
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        try:
            await self.go_on.wait()
            if scope["query_string"] == b"raise":
                raise ZeroDivisionError
        finally:
            self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def _client(application: _Application, *, max_requests: int = 2, api_key: str = "") -> AsyncClient:
    return _client_of(application, Capacity(max_requests, 1), api_key=api_key)


def _client_of(application: _Application, capacity: Capacity, process: int = 0, api_key: str = "") -> AsyncClient:
    """Of the HTTP process with that number."""
    admission = Admission(application, "/predict", capacity, api_key)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await admission({**scope, "app": SimpleNamespace(response_queue_id=process)}, receive, send)

    return AsyncClient(transport=ASGITransport(app), base_url="http://test")


async def _fill(client: AsyncClient, application: _Application, count: int) -> list[asyncio.Task[Response]]:
    requests = [asyncio.create_task(client.post("/predict")) for _ in range(count)]
    while application.inside < count:
        await asyncio.sleep(0)
    return requests


@pytest.mark.parametrize("fit", [1, 3])
async def test_what_does_not_fit_in_is_told_to_come_again(fit: int) -> None:
    """At once, while those inside are still in work."""
    application = _Application()
    async with _client(application, max_requests=fit) as client:
        inside = await _fill(client, application, fit)
        refused = await client.post("/predict")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json() == {"detail": f"{fit} requests are in work, no more fit in; try again later"}
        assert application.inside == fit
        application.go_on.set()
        assert [response.status_code for response in await asyncio.gather(*inside)] == [200] * fit
        assert (await client.post("/predict")).status_code == 200


async def test_the_bound_is_that_of_all_http_processes_together() -> None:
    """Also where all requests are in one of them, since connections are never spread quite evenly."""
    one, other, capacity = _Application(), _Application(), Capacity(4, processes=2)
    async with _client_of(one, capacity, 0) as first, _client_of(other, capacity, 1) as second:
        inside = [*await _fill(first, one, 3), *await _fill(second, other, 1)]
        assert [(await client.post("/predict")).status_code for client in (first, second)] == [503, 503]
        other.go_on.set()
        await asyncio.wait([inside[-1]])
        inside.append(asyncio.create_task(first.post("/predict")))
        while one.inside < 4:
            await asyncio.sleep(0)
        one.go_on.set()
        assert [response.status_code for response in await asyncio.gather(*inside)] == [200] * 5


async def test_one_that_fails_or_leaves_makes_room() -> None:
    application = _Application()
    async with _client(application, max_requests=1) as client:
        [leaving] = await _fill(client, application, 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        application.go_on.set()
        with pytest.raises(ZeroDivisionError):
            await client.post("/predict?raise")
        assert (await client.post("/predict")).status_code == 200


async def test_other_paths_are_open_when_at_capacity_and_without_a_key() -> None:
    application = _Application()
    async with _client(application, max_requests=1, api_key="secret") as client:
        inside = asyncio.create_task(client.post("/predict", headers={"X-API-Key": "secret"}))
        health = asyncio.create_task(client.get("/health"))
        while application.inside < 2:
            await asyncio.sleep(0)
        application.go_on.set()
        assert [(await inside).status_code, (await health).status_code] == [200, 200]


@pytest.mark.parametrize("given", [None, "", "secre", "secret2", "Secret", "sécret"])
async def test_without_the_right_key_nobody_is_let_in(given: str | None) -> None:
    application = _Application()
    application.go_on.set()
    headers = {} if given is None else {b"X-API-Key": given.encode()}
    async with _client(application, api_key="secret") as client:
        refused = await client.post("/predict", headers=headers)
    assert refused.status_code == 401
    assert refused.json() == {"detail": "the header X-API-Key is missing or wrong"}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["", "a line", "a line of Windows"])
@pytest.mark.parametrize("key", ["secret", "sécret"])
async def test_the_right_key_opens(key: str, end: str) -> None:
    """A key that was read from a file may have the end of its line."""
    application = _Application()
    application.go_on.set()
    async with _client(application, api_key=key + end) as client:
        assert (await client.post("/predict", headers={b"X-API-Key": key.encode()})).status_code == 200


@pytest.mark.parametrize(("key", "status"), [("", "415"), ("secret", "401")])
async def test_the_key_of_the_environment_guards_the_service(key: str, status: str) -> None:
    """LitServe's own variable; in a process of its own, since LitServe reads it once."""
    program = """
import asyncio
from httpx import ASGITransport, AsyncClient
from service.app import build_server
from service.settings import load_settings
async def ask():
    app = build_server(load_settings([], "test")).app
    app.response_queue_id = 0
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        headers = {"content-type": "text/plain"}
        posted = [await client.post(path, headers=headers) for path in ("/predict", "/predict%0A")]
        return [response.status_code for response in (*posted, await client.get("/metrics"))]
print(*asyncio.run(ask()))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "LIT_SERVER_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.stdout == f"{status} 404 200\n", finished.stderr

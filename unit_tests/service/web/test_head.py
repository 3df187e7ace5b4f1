"""HEAD is answered where GET is, with the same headers and no body."""

import http.client
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI, Response

from service.web.head import HeadAsGet


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where an application is served that declares nothing but a GET and a POST."""
    app = FastAPI()
    app.add_middleware(HeadAsGet)

    @app.get("/health")
    def health() -> Response:
        return Response("ok")

    @app.post("/predict")
    def predict() -> Response:
        return Response("cat")

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_head_is_get_without_its_body(port: int) -> None:
    """Also on a connection that goes on: a body would be taken for the next answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for method, path, status, body in [
        ("HEAD", "/health", 200, b""),
        ("GET", "/health", 200, b"ok"),
        ("HEAD", "/predict", 405, b""),
        ("HEAD", "/nowhere", 404, b""),
        ("POST", "/predict", 200, b"cat"),
    ]:
        connection.request(method, path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, body), (method, path)
        if path == "/health":
            assert response.headers["content-length"] == "2"
    connection.close()

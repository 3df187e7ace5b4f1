"""A request becomes one decoded image, or an error whose status and sentence say what is wrong with it."""

import asyncio
import base64
import gc
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi import Response as StarletteResponse
from httpx import ASGITransport, AsyncClient, Response
from PIL import Image

from perf_tests.photos import cat_jpeg
from service.app import build_server
from service.images import ImageReader
from service.settings import load_settings
from service.transport.request_table import RequestTable
from service.transport.table_transport import DecodedImage
from service.web.image_request import Intake, answer_image_request, read_image_request
from tools.stress.image_files import encode, json_body, quadrants

pytestmark = pytest.mark.anyio

_MAX_IMAGE_BYTES = 100_000
_JSON = "application/json"
_RAW = "application/octet-stream"
_PNG = encode(quadrants(), "PNG")
_TIFF = encode(quadrants(), "TIFF", compression="tiff_lzw")
_PIXELS = ImageReader().read(_PNG)


@pytest.fixture(scope="module")
def intake() -> Intake:
    """The server's own. FastAPI keeps the endpoints of every application, and with them each server's open files."""
    flags = ["--max-image-bytes", str(_MAX_IMAGE_BYTES), "--max-image-pixels", "1000000"]
    intake: Intake = build_server(load_settings(flags, "unit_tests")).app.state.intake
    return intake


@pytest.fixture
def app(intake: Intake) -> FastAPI:
    """An application that reads the request's image, and answers with the bytes of the pixels that it got."""
    app = FastAPI()
    app.state.intake = replace(
        intake, table=RequestTable(len(_PIXELS), slots=8, processes=1, labels=2, devices=1, workers_per_device=1)
    )
    app.response_queue_id = 0  # type: ignore[attr-defined]  # LitServe's number of the HTTP process

    @app.post("/predict")
    async def answer(request: Request) -> dict[str, object]:
        image = await read_image_request(request)
        assert 25 < image.deadline_s - time.monotonic() < 30
        assert image.decoding.duration_s > 0
        return {
            "pixels": base64.b64encode(image.pixels.tobytes()).decode(),
            "slot": image.slot,
            "timing": str(image.decoding),
            "asked": image.request.headers.get("x-asked"),
        }

    return app


async def _post(app: FastAPI, body: bytes | AsyncIterator[bytes], headers: dict[str, str]) -> Response:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        return await client.post("/predict", content=body, headers=headers)


def _image(value: object) -> bytes:
    return json.dumps({"image": value}).encode()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(json_body(_PNG), {"content-type": _JSON}, id="JSON"),
        pytest.param(json_body(_PNG), {"content-type": "Application/JSON; charset=utf-8"}, id="JSON with a charset"),
        pytest.param(json_body(_PNG), {}, id="JSON unsaid"),
        pytest.param(b' {"more": [1], "image": "%s"}\n' % base64.b64encode(_PNG), {}, id="JSON with other fields"),
        pytest.param(_PNG, {"content-type": _RAW}, id="raw bytes"),
        pytest.param(_PNG, {"content-type": "image/png"}, id="image/png"),
        pytest.param(_PNG, {"content-type": "image/jpeg"}, id="image/jpeg that is a PNG"),
    ],
)
async def test_an_image_arrives_as_pixels(app: FastAPI, body: bytes, headers: dict[str, str]) -> None:
    """In base64 or raw, the pixels are those that the reader makes of the file."""
    response = await _post(app, body, headers)
    assert response.status_code == 200, response.text
    assert base64.b64decode(response.json()["pixels"]) == _PIXELS.tobytes()


@pytest.mark.parametrize(
    ("body", "content_type", "status", "detail"),
    [
        pytest.param(b"", _JSON, 400, "the body is not JSON", id="nothing"),
        pytest.param(b'{"image": ', _JSON, 400, "the body is not JSON", id="JSON that breaks off"),
        pytest.param(_PNG, _JSON, 400, "the body is not JSON", id="a PNG called JSON"),
        pytest.param(b"\xff\xfe\xff", _JSON, 400, "the body is not JSON", id="no text"),
        pytest.param(b"9" * 100_000, _JSON, 400, "the body is not JSON", id="an endless number"),
        pytest.param(b"[]", _JSON, 422, "must be a JSON object with the field 'image', got an array", id="array"),
        pytest.param(b'"abc"', _JSON, 422, "must be a JSON object with the field 'image', got a string", id="string"),
        pytest.param(b"null", _JSON, 422, "must be a JSON object with the field 'image', got null", id="null"),
        pytest.param(b"7", _JSON, 422, "must be a JSON object with the field 'image', got a number", id="number"),
        pytest.param(b"{}", _JSON, 422, "the field 'image' is missing", id="field missing"),
        pytest.param(b'{"Image": "abcd"}', _JSON, 422, "the field 'image' is missing", id="field misspelt"),
        pytest.param(_image(None), _JSON, 422, "'image' must be a string of base64, got null", id="field null"),
        pytest.param(_image(1), _JSON, 422, "'image' must be a string of base64, got a number", id="field integer"),
        pytest.param(_image(0.5), _JSON, 422, "'image' must be a string of base64, got a number", id="field float"),
        pytest.param(_image(True), _JSON, 422, "'image' must be a string of base64, got a boolean", id="field boolean"),
        pytest.param(_image(["a"]), _JSON, 422, "'image' must be a string of base64, got an array", id="field array"),
        pytest.param(_image({"a": 1}), _JSON, 422, "'image' must be a string of base64, got an obj", id="field object"),
        pytest.param(_image(""), _JSON, 422, "the image is empty", id="field empty"),
        pytest.param(_image("@@@@"), _JSON, 400, "the field 'image' is not base64", id="no letters of base64"),
        pytest.param(_image("abcde"), _JSON, 400, "the field 'image' is not base64", id="base64 that breaks off"),
        pytest.param(_image("äöüß"), _JSON, 400, "the field 'image' is not base64", id="base64 beyond ASCII"),
        pytest.param(_image("\ud800"), _JSON, 400, "the field 'image' is not base64", id="half a surrogate pair"),
        pytest.param(_image("data:image/svg+xml,%3Csvg"), _JSON, 400, "is not base64", id="data URL, not base64"),
        pytest.param(json_body(b"hello"), _JSON, 415, "not an image of a supported type (JPEG,", id="no image"),
        pytest.param(json_body(_TIFF), _JSON, 415, "not an image of a supported type (JPEG,", id="TIFF"),
        pytest.param(json_body(cat_jpeg()[:20_000]), _JSON, 422, "the JPEG image is truncated", id="truncated JPEG"),
        pytest.param(_PNG[:-40], "image/png", 422, "the PNG image is truncated", id="truncated raw PNG"),
        pytest.param(b"", _RAW, 422, "the image is empty (0 bytes)", id="no raw bytes"),
        pytest.param(json_body(_PNG), _RAW, 415, "not an image of a supported type", id="JSON called raw"),
        pytest.param(_PNG, "text/plain", 415, "content type 'text/plain' is not supported", id="text/plain"),
        pytest.param(_PNG, "multipart/form-data; boundary=x", 400, "the body is not multipart/form-data", id="no form"),
        pytest.param(b"image=abc", "application/x-www-form-urlencoded", 415, "not an image of a", id="form"),
        pytest.param(b"", "", 422, "the image is empty (0 bytes)", id="nothing, called nothing"),
        pytest.param(
            encode(Image.new("1", (1250, 1000)), "PNG"), _RAW, 413, "1250x1000 = 1,250,000 pixels", id="many pixels"
        ),
    ],
)  # fmt: skip
async def test_a_bad_request_is_told_what_is_wrong(
    app: FastAPI, body: bytes, content_type: str, status: int, detail: str
) -> None:
    """Each has its status, and nothing but a sentence under `detail`."""
    response = await _post(app, body, {"content-type": content_type})
    assert response.status_code == status, response.text
    assert response.json().keys() == {"detail"}
    assert detail in response.json()["detail"]


async def test_deeply_nested_json_is_none(app: FastAPI) -> None:
    """It is read to the bottom of the stack, where finalizers of what other tests have left behind could not run."""
    gc.collect()
    response = await _post(app, b"[" * 100_000, {"content-type": _JSON})
    assert response.status_code == 400
    assert "the body is not JSON" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        (b"[]", _JSON, "the body must be a JSON object with the field 'image', got an array"),
        (b"{}", _JSON, "the field 'image' is missing: it holds the base64 of an image file"),
        (_image(None), _JSON, "the field 'image' must be a string of base64, got null"),
        (_image({}), _JSON, "the field 'image' must be a string of base64, got an object"),
        (_image(True), _JSON, "the field 'image' must be a string of base64, got a boolean"),
        (
            _PNG,
            "text/plain",
            "content type 'text/plain' is not supported; "
            "send application/json, multipart/form-data, application/octet-stream or image/*",
        ),
    ],
)
async def test_what_is_wrong_is_told_in_a_whole_sentence(
    app: FastAPI, body: bytes, content_type: str, detail: str
) -> None:
    """As a client shows it to whoever wrote the request."""
    response = await _post(app, body, {"content-type": content_type})
    assert response.json() == {"detail": detail}


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("is_declared", [True, False])
async def test_a_body_of_the_largest_size_is_read(app: FastAPI, is_declared: bool, excess: int) -> None:
    """Three halves of the file and 1,024 bytes, as base64 with line breaks in JSON takes; a byte more is too large."""
    content = b" " * (_MAX_IMAGE_BYTES * 3 // 2 + 1_024 + excess)

    async def chunks() -> AsyncIterator[bytes]:
        yield content[:70_000]
        yield content[70_000:]

    response = await _post(app, content if is_declared else chunks(), {"content-type": _JSON})
    assert response.status_code == (413 if excess else 400), response.text
    assert response.json()["detail"].startswith("the request body is larger" if excess else "the body is not JSON")


async def test_an_image_comes_with_its_slot_its_request_and_what_decoding_took(app: FastAPI) -> None:
    """Each request has a slot of its own."""
    for slot in (0, 1):
        response = await _post(app, _PNG, {"content-type": _RAW, "x-asked": str(slot)})
        answer = response.json()
        assert (answer["slot"], answer["asked"]) == (slot, str(slot))
        assert answer["timing"].startswith("decode;dur=")


async def test_only_requests_that_become_an_image_are_on_the_way_to_a_batch(app: FastAPI) -> None:
    """A batch must not wait for a request that was refused."""
    table = app.state.intake.table
    for body in (b"{", json_body(b"hello"), b" " * 200_000):
        await _post(app, body, {"content-type": _JSON})
    assert table.in_sight == 0
    await _post(app, _PNG, {"content-type": _RAW})
    assert table.in_sight == 1


class _Transport:
    """Answers each request with its slot, or raises what it is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def submit(self, image: DecodedImage) -> "asyncio.Future[StarletteResponse]":
        if self._error is not None:
            raise self._error
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(StarletteResponse(f"slot {image.slot}", 202))
        return answer


async def _answer(app: FastAPI, body: bytes, error: Exception | None = None) -> Response:
    endpoint = FastAPI()
    endpoint.state.intake, endpoint.state.transport = app.state.intake, _Transport(error)
    endpoint.response_queue_id = 0  # type: ignore[attr-defined]
    endpoint.add_route("/predict", answer_image_request, methods=["POST"])
    return await _post(endpoint, body, {"content-type": _RAW})


async def test_the_endpoint_answers_as_the_transport_does(app: FastAPI) -> None:
    response = await _answer(app, _PNG)
    assert (response.status_code, response.text) == (202, "slot 0")


async def test_the_endpoint_refuses_what_is_no_image(app: FastAPI) -> None:
    response = await _answer(app, b"")
    assert (response.status_code, response.json()) == (422, {"detail": "the image is empty (0 bytes)"})


async def test_an_error_of_the_service_is_a_500_that_tells_nothing(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the error, its client doesn't."""
    response = await _answer(app, _PNG, ZeroDivisionError("secret"))
    assert (response.status_code, response.json()) == (500, {"detail": "the service has failed on this request"})
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_body_that_does_not_come_is_not_waited_for(app: FastAPI) -> None:
    """A sender that goes on and on, slowly, has as long as any request."""
    app.state.intake = replace(app.state.intake, request_timeout_s=0.1)

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    response = await _post(app, body(), {"content-type": _JSON})
    assert response.status_code == 408
    assert response.json() == {"detail": "the body did not come within 0.1 s"}
    assert app.state.intake.table.in_sight == 0


async def test_an_image_that_is_not_decoded_in_time_gives_its_slot_back(app: FastAPI) -> None:
    """All threads are busy with others until long after its deadline."""
    go_on = threading.Event()
    app.state.intake = replace(app.state.intake, request_timeout_s=0.1, decoders=ThreadPoolExecutor(1))
    app.state.intake.decoders.submit(go_on.wait, 60)
    response = await _post(app, _PNG, {"content-type": _RAW})
    go_on.set()
    assert response.status_code == 504
    assert response.json() == {"detail": "there was no time left to decode this image"}
    assert app.state.intake.table.in_sight == 0


async def test_without_a_free_slot_a_request_is_told_to_come_again(app: FastAPI) -> None:
    """All are taken: the image isn't even decoded."""
    table = app.state.intake.table
    while table.arrive(0) is not None:
        pass
    response = await _post(app, _PNG, {"content-type": _RAW})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {"detail": "no slot is free for this image; try again later"}


@pytest.mark.parametrize("as_json", [True, False])
async def test_an_image_of_the_largest_size_is_allowed_and_a_byte_more_is_not(app: FastAPI, as_json: bool) -> None:
    """The limit counts the bytes of the file, in base64 as in raw."""
    largest = _PNG + b"\0" * (_MAX_IMAGE_BYTES - len(_PNG))
    headers = {"content-type": _JSON if as_json else _RAW}
    for file, status in ((largest, 200), (largest + b"\0", 413)):
        response = await _post(app, json_body(file) if as_json else file, headers)
        assert response.status_code == status, response.text
    assert response.json()["detail"] == "the image has 100,001 bytes; at most 100,000 are allowed"


async def test_a_body_that_is_declared_too_large_is_not_read(app: FastAPI) -> None:
    """The content length alone is enough to refuse it."""
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    response = await _post(app, body(), {"content-type": _JSON, "content-length": "151025"})
    assert response.status_code == 413
    assert response.json()["detail"] == "the request body is larger than 151,024 bytes"
    assert not read


async def test_a_chunked_body_is_read_up_to_the_limit_only(app: FastAPI) -> None:
    """Without a content length the bytes are counted as they come, and no more is taken than must be."""
    chunks_sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal chunks_sent
        while chunks_sent < 1000:
            chunks_sent += 1
            yield b" " * 10_000

    response = await _post(app, body(), {"content-type": _JSON})
    assert response.status_code == 413
    assert "larger than 151,024 bytes" in response.json()["detail"]
    assert chunks_sent == 16


async def test_a_chunked_body_within_the_limit_is_an_image(app: FastAPI) -> None:
    """Chunks are put together in order."""

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(_PNG), 500):
            yield _PNG[start : start + 500]

    response = await _post(app, body(), {"content-type": _RAW})
    assert base64.b64decode(response.json()["pixels"]) == _PIXELS.tobytes()


async def test_a_client_that_goes_away_while_it_sends_is_no_error_of_ours(app: FastAPI) -> None:
    """A body that breaks off ends as a 400 that nobody reads, not as an exception."""
    messages: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"]) == {"detail": "the request's body was not sent to its end"}

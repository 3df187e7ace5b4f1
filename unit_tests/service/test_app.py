"""The application in this process, with a real worker: what each endpoint answers."""

import asyncio
import time
from collections.abc import AsyncIterator

import anyio
import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient
from litserve.utils import wrap_litserve_start

from perf_tests.photos import cat_jpeg
from service.app import build_server
from service.settings import load_settings
from tools.stress.bad_requests import bad_requests
from tools.stress.image_files import cat_png, json_body
from unit_tests.builders.observing import growth, read_samples

pytestmark = pytest.mark.anyio

_READY_DEADLINE_S = 120.0


@pytest.fixture(scope="module")
async def client(anyio_backend: str) -> AsyncIterator[AsyncClient]:
    """A client of the application, once its worker is ready."""
    arguments = ["--device", "cpu", "--workers-per-device", "1", "--max-batch-size", "4"]
    server = build_server(load_settings(arguments, "unit_tests"))
    with wrap_litserve_start(server):
        async with (
            LifespanManager(server.app) as lifespan,
            AsyncClient(transport=ASGITransport(lifespan.app), base_url="http://test") as client,
        ):
            end_s = time.monotonic() + _READY_DEADLINE_S
            while (health := await client.get("/health")).status_code != 200:
                assert health.status_code == 503, "not ready yet"
                assert time.monotonic() < end_s, "the worker was not ready in time"
                await anyio.sleep(0.05)
            yield client


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(json_body(cat_jpeg()), "application/json", id="base64"),
        pytest.param(cat_jpeg(), "image/jpeg", id="raw JPEG"),
        pytest.param(cat_png(), "application/octet-stream", id="raw PNG"),
    ],
)
async def test_a_photo_of_a_cat_is_a_cat(client: AsyncClient, body: bytes, content_type: str) -> None:
    """Labels best first, with probabilities that sum to 1, and nothing else."""
    response = await client.post("/predict", content=body, headers={"content-type": content_type})
    assert response.status_code == 200, response.text
    predictions = response.json()["predictions"]
    assert response.json().keys() == {"predictions"}
    assert [item["label"] for item in predictions] == ["Cat", "Dog"]
    assert predictions[0]["probability"] == pytest.approx(0.996, abs=0.01)
    assert sum(item["probability"] for item in predictions) == pytest.approx(1, abs=1e-6)


async def test_info_tells_how_the_model_runs(client: AsyncClient) -> None:
    """As the model's own worker does; nothing is said of a fallback where there is none."""
    details = (await client.get("/info")).json()["model"]
    assert details.keys() == {"engine", "precision", "device", "threads"}
    assert details["device"] == "cpu"
    assert details["precision"] in ("float32", "bfloat16")
    assert details["threads"] >= 1


@pytest.mark.parametrize("path", ["/health", "/live", "/metrics", "/info", "/openapi.json", "/"])
async def test_monitors_may_ask_with_head(client: AsyncClient, path: str) -> None:
    assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"image": "@@@@"}', "application/json", 400),
        (b'{"image": null}', "application/json", 422),
        (cat_jpeg()[:9_000], "image/jpeg", 422),
        (b"no image", "image/png", 415),
        (cat_jpeg(), "text/plain", 415),
        (b" " * 30_500_000, "application/json", 413),
    ],
)
async def test_a_bad_request_has_its_own_status(
    client: AsyncClient, body: bytes, content_type: str, status: int
) -> None:
    """Each is answered with a sentence, as the dependency alone would."""
    response = await client.post("/predict", content=body, headers={"content-type": content_type})
    assert response.status_code == status
    assert isinstance(response.json()["detail"], str)


async def test_a_bad_request_fails_nobody_else(client: AsyncClient) -> None:
    """Good and bad at the same time: every good one has its answer."""
    bodies = [json_body(cat_jpeg()), b'{"image": "AAAA"}'] * 6
    responses = await asyncio.gather(*(client.post("/predict", content=body) for body in bodies))
    assert [response.status_code for response in responses] == [200, 415] * 6


async def test_the_metrics_show_what_was_answered(client: AsyncClient) -> None:
    """One good and one bad request: both are decoded, and one is queued, predicted and encoded, in the worker."""
    before = read_samples((await client.get("/metrics")).text)
    await client.post("/predict", content=json_body(cat_jpeg()))
    await client.post("/predict", content=b"{}")
    response = await client.get("/metrics")
    grown = growth(before, read_samples(response.text))
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    counts = {name: value for name, value in grown.items() if "_count" in name or "_total" in name}
    assert counts == {
        "classifier_stage_seconds_count{decode}": 2,
        "classifier_stage_seconds_count{queue}": 1,
        "classifier_stage_seconds_count{batch}": 1,
        "classifier_stage_seconds_count{predict}": 1,
        "classifier_stage_seconds_count{encode}": 1,
        "classifier_batch_size_count": 1,
        "classifier_requests_total{200}": 1,
        "classifier_requests_total{422}": 1,
    }
    assert grown["classifier_batch_size_sum"] == 1


async def test_other_methods_and_paths_are_refused(client: AsyncClient) -> None:
    """The contract has one way to ask."""
    assert (await client.get("/predict")).status_code == 405
    assert (await client.post("/classify", content=b"{}")).status_code == 404


@pytest.mark.parametrize("path", ["/predict%0A", "/predict%0D", "/predict%20", "/%0Apredict", "/predict%0A/"])
async def test_no_other_spelling_of_the_path_gets_past_the_key_the_limit_and_the_metrics(
    client: AsyncClient, path: str
) -> None:
    """They go by the path as it is; Starlette takes a path with a line break behind it for the same."""
    answer = await client.post(path, content=json_body(cat_jpeg()))
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


async def test_every_endpoint_and_every_error_is_described(client: AsyncClient) -> None:
    """Those of the application itself, and whatever status a request can get."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {"/predict", "/health", "/live", "/metrics", "/info", "/"}
    described = set(paths["/predict"]["post"]["responses"])
    assert described == {"200", "400", "401", "408", "413", "415", "422", "431", "500", "501", "503", "504"}
    of_bad_requests = {str(bad.status) for bad in bad_requests() if not bad.is_cut_off}
    assert of_bad_requests - described == {"404", "405"}, "another path and another method are no part of it"
    assert "A colour profile in the file is ignored" in paths["/predict"]["post"]["description"]

"""The request that an endpoint is sent, and its answer."""

from pathlib import Path

import pytest

from servegate.errors import SetupError
from servegate.processes.server import ServerProcess
from servegate.setup.requests import Exchange, GivenRequest, ask, ask_twice, match_paths
from servegate.setup.server_code import Endpoint

ONE, TWO = Endpoint("/predict"), Endpoint("/tags")


@pytest.mark.parametrize(
    ("given", "endpoints", "matched"),
    [
        (['{"a=b": 1}'], [ONE], {"/predict": '{"a=b": 1}'}),
        (["/predict=@photo.jpg"], [ONE, TWO], {"/predict": "@photo.jpg"}),
        (['/tags={"t": "="}', "/predict=3"], [ONE, TWO], {"/tags": '{"t": "="}', "/predict": "3"}),
    ],
)
def test_which_endpoint_a_request_is_for(given: list[str], endpoints: list[Endpoint], matched: dict[str, str]) -> None:
    assert match_paths(given, endpoints, "--request") == matched


@pytest.mark.parametrize("given", ["3", "/nowhere=3"])
def test_an_endpoint_that_is_not_clear(given: str) -> None:
    with pytest.raises(SetupError, match="which endpoint is it for") as raised:
        match_paths([given], [ONE, TWO], "--request")
    assert "/predict, /tags" in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "tolerance"),
    [
        ({"output": 80.0}, 0.1),
        ({"scores": [0.4, {"x": 0.123}]}, 0.001),
        ({"count": 3, "name": "x", "known": True}, 0.0),
        ({"loss": 0.0}, 0.0),
        (1.0, 0.01),
    ],
)
def test_how_far_an_answer_may_differ(answer: object, tolerance: float) -> None:
    assert Exchange(GivenRequest("/predict", {}), answer).tolerance == pytest.approx(tolerance)


def test_a_request_is_a_document_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    workload = GivenRequest.parse("@photo.jpg", "/predict", tmp_path).workload(tmp_path, expected=1)
    assert (workload.body, workload.headers) == (b"jpeg", {"Content-Type": "image/jpeg"})
    assert GivenRequest.parse('{"a": 1}', "/predict", tmp_path).document == {"a": 1}
    with pytest.raises(SetupError, match=r"there is no file no\.jpg"):
        GivenRequest.parse("@no.jpg", "/predict", tmp_path)
    with pytest.raises(SetupError, match="which is no JSON"):
        GivenRequest.parse("{a: 1}", "/predict", tmp_path)


def test_the_answer_that_was_given_is_held_against_the_service() -> None:
    right = Exchange(GivenRequest("/predict", {}), {"score": 0.4})
    right.require({"score": 0.4004})
    with pytest.raises(SetupError, match=r"POST /predict: answer.score is 0.5, expected 0.4"):
        right.require({"score": 0.5})


def test_an_endpoint_is_asked_twice(stub: ServerProcess, tmp_path: Path) -> None:
    exchange = ask_twice(stub.url, GivenRequest("/predict/echo", {"a": 1}), tmp_path)
    assert exchange.expected == {"body": '{"a": 1}', "type": "application/json"}


def test_two_different_answers_to_one_request_are_refused(stub: ServerProcess, tmp_path: Path) -> None:
    """Every third answer of this endpoint is another one, so it is in one of three pairs."""

    def ask_three_times() -> None:
        for _ in range(3):
            ask_twice(stub.url, GivenRequest("/predict/sometimes-wrong", {}), tmp_path)

    with pytest.raises(SetupError, match=r"two different answers to one request: answer\.predictions") as raised:
        ask_three_times()
    assert "fix the seed" in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("unknown", "POST /predict/unknown answered with status 404: no such mode"),
        ("not-json", "answered something else than JSON: b'<html>'"),
        ("closes", "was not answered"),
    ],
)
def test_what_is_no_answer_is_told(stub: ServerProcess, tmp_path: Path, mode: str, told: str) -> None:
    with pytest.raises(SetupError) as raised:
        ask(stub.url, GivenRequest(f"/predict/{mode}", {}).workload(tmp_path, expected=None))
    assert told in str(raised.value)

"""Tests of the exchanges that are made of a service's answers."""

from pathlib import Path

import pytest

from servegate.errors import SetupError
from servegate.load.expected import Json, Lines, Text
from servegate.processes.server import ServerProcess
from servegate.setup.answers import Exchange, ask, ask_twice, choose_tolerance
from servegate.setup.requests import GivenRequest

REQUEST, STREAM = GivenRequest("/predict", {}), GivenRequest("/predict", {}, is_stream=True)


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
    assert choose_tolerance(answer) == pytest.approx(tolerance)


@pytest.mark.parametrize(
    ("request_", "body", "expected"),
    [
        (REQUEST, b'{"score": 0.4}', Json({"score": 0.4}, 0.001)),
        (REQUEST, b"ok", Text("ok")),
        (STREAM, b'{"word": "a"}\n{"word": "b"}\n', Lines([{"word": "a"}, {"word": "b"}])),
        (STREAM, b'data: {"p": 0.5}\n\ndata: [DONE]\n', Lines([{"p": 0.5}, "[DONE]"], 0.001)),
    ],
)
def test_what_an_answer_is_compared_with(request_: GivenRequest, body: bytes, expected: object) -> None:
    exchange = Exchange.from_body(request_, body)
    assert exchange.expected == expected
    exchange.require(body)


def test_bytes_are_told_to_be_written_by_hand() -> None:
    with pytest.raises(SetupError, match=r"expected=Raw"):
        Exchange.from_body(REQUEST, b"\xff\xd8\xff")


def test_the_answer_that_was_given_is_held_against_the_service() -> None:
    right = Exchange.from_document(REQUEST, {"score": 0.4})
    right.require(b'{"score": 0.4004}')
    with pytest.raises(SetupError, match=r"POST /predict: answer.score is 0.5, expected 0.4"):
        right.require(b'{"score": 0.5}')


def test_an_endpoint_is_asked_twice(stub: ServerProcess, tmp_path: Path) -> None:
    exchange, body = ask_twice(stub.url, GivenRequest("/predict/echo", {"a": 1}), tmp_path)
    assert exchange.expected == Json({"body": '{"a": 1}', "type": "application/json"})
    exchange.require(body)


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
        ("closes", "POST /predict/closes was not answered"),
    ],
)
def test_what_is_no_answer_is_told(stub: ServerProcess, tmp_path: Path, mode: str, told: str) -> None:
    with pytest.raises(SetupError) as raised:
        ask(stub.url, GivenRequest(f"/predict/{mode}", {}).workload(tmp_path, expected=None))
    assert told in str(raised.value)

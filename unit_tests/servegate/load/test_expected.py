"""Right answers, and how wrong ones are described."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegate.load.expected import Checked, Expected, Json, Lines, Raw, Text, difference, parse_expected

CAT = {"predictions": [{"label": "Cat", "probability": 0.99}, {"label": "Dog", "probability": 0.01}]}
NAN = float("nan")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance"),
    [
        (1.0, 1.0, 0.0),
        (1.0, 1.5, 0.5),
        (1.0, 0.5, 0.5),
        (1, 1.0, 0.0),
        ("Cat", "Cat", 0.0),
        (None, None, 0.0),
        (True, True, 0.0),
        ([], [], 0.0),
        ({}, {}, 0.0),
        ([1, [2.0, "x"]], [1.1, [1.9, "x"]], 0.2),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 0.0),
        (CAT, {"predictions": [{"probability": 0.98, "label": "Cat"}, {"label": "Dog", "probability": 0.02}]}, 0.02),
    ],
)
def test_right_answer(expected: object, actual: object, tolerance: float) -> None:
    """Numbers may differ by the tolerance, everything else is equal; the order of keys is free."""
    assert difference(expected, actual, tolerance) is None


@pytest.mark.parametrize(
    ("expected", "actual", "wrong"),
    [
        (1.0, 1.2, "answer is 1.2, expected 1.0 within 0.1"),
        (1.0, NAN, "answer is nan, expected 1.0 within 0.1"),
        (1.0, float("inf"), "answer is inf, expected 1.0 within 0.1"),
        (1, True, "answer is True, expected a number"),
        (True, 1, "answer is 1, expected True"),
        (False, 0.0, "answer is 0.0, expected False"),
        (1.0, "1.0", "answer is '1.0', expected a number"),
        (1.0, None, "answer is None, expected a number"),
        ("Cat", "Dog", "answer is 'Dog', expected 'Cat'"),
        ("1", 1, "answer is 1, expected '1'"),
        (None, 0, "answer is 0, expected None"),
        ([1, 2], [1], "answer is [1], expected a list of 2"),
        ([1], [1, 2], "answer is [1, 2], expected a list of 1"),
        ([1], {"0": 1}, "answer is {'0': 1}, expected a list of 1"),
        ([], "", "answer is '', expected a list of 0"),
        ({"a": 1, "b": 2}, {"a": 1}, "answer is {'a': 1}, expected an object with 'a', 'b'"),
        ({"a": 1}, {"a": 1, "b": 2}, "answer is {'a': 1, 'b': 2}, expected an object with 'a'"),
        ({"a": 1}, [1], "answer is [1], expected an object with 'a'"),
        (CAT, {"detail": "busy"}, "answer is {'detail': 'busy'}, expected an object with 'predictions'"),
        (
            CAT,
            {"predictions": [{"label": "Cat", "probability": 0.99}, {"label": "Dog", "probability": 0.5}]},
            "answer.predictions[1].probability is 0.5, expected 0.01 within 0.1",
        ),
        (
            CAT,
            {"predictions": [{"label": "Dog", "probability": 0.99}, {"label": "Cat", "probability": 0.01}]},
            "answer.predictions[0].label is 'Dog', expected 'Cat'; "
            "answer.predictions[1].label is 'Cat', expected 'Dog'",
        ),
        ([0] * 5, [1] * 5, "; ".join(f"answer[{place}] is 1, expected 0 within 0.1" for place in range(5))),
        (
            [0] * 6,
            [1] * 6,
            "; ".join(f"answer[{place}] is 1, expected 0 within 0.1" for place in range(5)) + "; and more",
        ),
    ],
)
def test_wrong_answer(expected: object, actual: object, wrong: str) -> None:
    """The first differences are named, with their places in the answer."""
    assert difference(expected, actual, tolerance=0.1) == wrong


@given(json_values)
def test_every_answer_equals_itself(value: Any) -> None:
    assert difference(value, json.loads(json.dumps(value)), tolerance=0.0) is None


@given(json_values, json_values)
def test_without_tolerance_only_an_equal_answer_is_right(expected: Any, actual: Any) -> None:
    if difference(expected, actual, tolerance=0.0) is None:
        assert expected == actual


def is_even(body: bytes) -> str | None:
    """A function that a load client can import."""
    return None if int(body) % 2 == 0 else f"{int(body)} is odd"


@pytest.mark.parametrize(
    ("expected", "right", "wrong", "why"),
    [
        (Json({"a": 1.0}, 0.1), b'{"a": 1.05}', b'{"a": 1.2}', "answer.a is 1.2, expected 1.0 within 0.1"),
        (Json(None), b"null", b"<html>", "not JSON: b'<html>'"),
        (Text("häuser"), "häuser".encode(), b"haus", "answer is 'haus', expected 'häuser'"),
        (
            Raw(b"\x00\xff"),
            b"\x00\xff",
            b"\x00",
            "answer is 1 bytes from b'\\x00' on, expected 2 from b'\\x00\\xff' on",
        ),
        (
            Lines([{"a": 1}, {"a": 2}]),
            b'{"a": 1}\n{"a": 2}\n',
            b'{"a": 1}\n',
            "answer is [{'a': 1}], expected a list of 2",
        ),
        (Checked(is_even), b"2", b"3", "3 is odd"),
    ],
)
def test_each_kind_of_answer(expected: Expected, right: bytes, wrong: bytes, why: str) -> None:
    """It travels to the load client as JSON."""
    for one in (expected, parse_expected(json.loads(json.dumps(expected.to_json())))):
        assert one.find_wrong(right) is None
        assert one.find_wrong(wrong) == why


def test_server_sent_events_are_lines() -> None:
    """Fields that only the connection needs don't count; the end of a stream, which is no JSON, is a text."""
    body = b': keep-alive\nevent: token\ndata: {"t": "a"}\n\nid: 2\ndata:{"t": "b"}\n\ndata: [DONE]\n\n'
    assert Lines([{"t": "a"}, {"t": "b"}, "[DONE]"]).find_wrong(body) is None


@pytest.mark.parametrize("function", [lambda _: None, Json.find_wrong.__get__(Json(1))])
def test_a_function_that_no_module_has_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="not a lambda or a function within another"):
        Checked(function)


@pytest.mark.parametrize(
    ("file", "module"), [("test_of_a_page.py", "test_of_a_page"), ("pages/__init__.py", "pages"), ("a/b.py", "a.b")]
)
def test_another_process_finds_the_function_where_this_one_did(
    file: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a test file, whose folder only pytest puts on Python's path."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("def find_wrong(body):\n    return None if body == b'1' else 'not 1'\n")
    monkeypatch.syspath_prepend(tmp_path)
    document = json.dumps(Checked(importlib.import_module(module).find_wrong).to_json())
    program = "import json, sys; from servegate.load.expected import parse_expected as parse; "
    program += "print(parse(json.loads(sys.argv[1])).find_wrong(b'2'))"
    other = subprocess.run([sys.executable, "-c", program, document], capture_output=True, text=True, check=False)
    assert (other.stdout, other.stderr) == ("not 1\n", "")


def fail_on(body: bytes) -> str | None:
    raise KeyError(body.decode())


def test_a_function_that_fails_finds_the_answer_wrong() -> None:
    assert Checked(fail_on).find_wrong(b"score") == "fail_on failed on it: KeyError('score')"


def test_a_line_may_hold_what_unicode_takes_for_the_end_of_one() -> None:
    assert Lines([{"t": "a\u2028b"}, {"t": "c"}]).find_wrong('{"t": "a\u2028b"}\r\n{"t": "c"}\r\n'.encode()) is None

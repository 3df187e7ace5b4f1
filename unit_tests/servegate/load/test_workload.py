"""What counts as a right answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servegate.load.workload import Workload, difference

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


def test_a_workload_travels_as_json() -> None:
    workload = Workload("/predict", b"\x00\xff", {"Content-Type": "image/jpeg"}, expected=CAT, tolerance=0.02)
    document = json.loads(json.dumps(workload.to_json()))
    assert document == {
        "path": "/predict",
        "body": "AP8=",
        "headers": {"Content-Type": "image/jpeg"},
        "expected": CAT,
        "tolerance": 0.02,
    }


def test_a_workload_needs_its_right_answer_which_may_be_null() -> None:
    with pytest.raises(ValueError, match=r"Workload\('/predict', ...\) needs the right answer, as in expected="):
        Workload("/predict", b"{}")
    assert Workload("/predict", b"{}", expected=None).expected is None

"""Workload: the request that is sent and the answer that is expected."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

# The environment variable with the key of a service that runs elsewhere; no process list shows it.
KEY_VARIABLE = "SERVEGATE_API_KEY"

# An expected answer may be null, which is None.
_NOT_GIVEN = object()


@dataclass(frozen=True)
class Workload:
    """One request, sent over and over.

    Attributes
    ----------
    path:
        Of the endpoint that is posted to, as in `/predict`.
    body, headers:
        What is sent.
    expected:
        The right answer, as the JSON document of the body says it; it must be given.
    tolerance:
        How far each number of an answer may lie from the expected one.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: object = _NOT_GIVEN
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.expected is _NOT_GIVEN:
            raise ValueError(
                f"Workload({self.path!r}, ...) needs the right answer, as in expected={{'score': 0.4}}: "
                "every answer is compared with it, so that a fast wrong one is no success"
            )

    @classmethod
    def from_json(
        cls,
        path: str,
        document: object,
        *,
        expected: object,
        tolerance: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> "Workload":
        """A request whose body is a JSON document.

        Parameters
        ----------
        path, expected, tolerance:
            As in `Workload`.
        document:
            What `json.dumps` makes the body of.
        headers:
            Besides the content type.
        """
        content_type = {"Content-Type": "application/json"}
        return cls(path, json.dumps(document).encode(), {**content_type, **(headers or {})}, expected, tolerance)

    def to_json(self) -> dict[str, object]:
        """For the client process's job."""
        return {
            "path": self.path,
            "body": base64.b64encode(self.body).decode(),
            "headers": dict(self.headers),
            "expected": self.expected,
            "tolerance": self.tolerance,
        }


def difference(expected: object, actual: object, tolerance: float, where: str = "answer") -> str | None:
    """What is wrong with a JSON answer, or None if it is right."""
    if isinstance(expected, bool) or not isinstance(expected, int | float | dict | list):
        # The type counts: Python's True == 1.
        if type(expected) is type(actual) and expected == actual:
            return None
        return f"{where} is {actual!r}, expected {expected!r}"
    if isinstance(expected, int | float):
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            return f"{where} is {actual!r}, expected a number"
        if not abs(actual - expected) <= tolerance:  # not >: NaN is wrong, too
            return f"{where} is {actual!r}, expected {expected!r} within {tolerance:g}"
        return None
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            return f"{where} is {actual!r}, expected an object with {', '.join(map(repr, expected))}"
        return next(
            (
                wrong
                for key in expected
                if (wrong := difference(expected[key], actual[key], tolerance, f"{where}.{key}"))
            ),
            None,
        )
    if not isinstance(actual, list) or len(actual) != len(expected):
        return f"{where} is {actual!r}, expected a list of {len(expected)}"
    return next(
        (
            wrong
            for index, (one, other) in enumerate(zip(expected, actual, strict=True))
            if (wrong := difference(one, other, tolerance, f"{where}[{index}]"))
        ),
        None,
    )

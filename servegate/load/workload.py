"""Workload: the request that is sent and the answer that is expected."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

# The environment variable with the key of a service that runs elsewhere; no process list shows it.
KEY_VARIABLE = "SERVEGATE_API_KEY"

# Wrong places of an answer that a message has.
_MOST_TOLD = 5
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


def difference(expected: object, actual: object, tolerance: float) -> str | None:
    """What is wrong with a JSON answer, or None if it is right; where more is wrong, the first places."""
    found = list(islice(_find_differences(expected, actual, tolerance, "answer"), _MOST_TOLD + 1))
    more = "; and more" if len(found) > _MOST_TOLD else ""
    return "; ".join(found[:_MOST_TOLD]) + more if found else None


def _find_differences(expected: object, actual: object, tolerance: float, where: str) -> Iterator[str]:
    if isinstance(expected, bool) or not isinstance(expected, int | float | dict | list):
        # The type counts: Python's True == 1.
        if type(expected) is not type(actual) or expected != actual:
            yield f"{where} is {actual!r}, expected {expected!r}"
    elif isinstance(expected, int | float):
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            yield f"{where} is {actual!r}, expected a number"
        elif not abs(actual - expected) <= tolerance:  # not >: NaN is wrong, too
            yield f"{where} is {actual!r}, expected {expected!r} within {tolerance:g}"
    elif isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            yield f"{where} is {actual!r}, expected an object with {', '.join(map(repr, expected))}"
            return
        for key in expected:
            yield from _find_differences(expected[key], actual[key], tolerance, f"{where}.{key}")
    elif not isinstance(actual, list) or len(actual) != len(expected):
        yield f"{where} is {actual!r}, expected a list of {len(expected)}"
    else:
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from _find_differences(one, other, tolerance, f"{where}[{index}]")

"""Workload: the requests that are sent and the answers that are expected."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from servegate.load.expected import Checked, Expected, Json, Lines, Raw, Text, parse_expected

# The environment variable with the key of a service that runs elsewhere; no process list shows it.
KEY_VARIABLE = "SERVEGATE_API_KEY"

# An expected answer may be null, which is None.
_NOT_GIVEN = object()
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Workload:
    """One request, which the client repeats; see `WeightedSet` for several requests.

    Attributes
    ----------
    path:
        The endpoint's path, as in `/predict`.
    body, headers:
        The bytes and headers that are sent.
    expected:
        The right answer, which must be given: a JSON document, or `Text`, `Raw`, `Lines` or `Checked` for an answer
        that is not JSON.
    tolerance:
        The most by which a number in a JSON answer may differ from the expected number.
    method:
        The HTTP method.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: object = _NOT_GIVEN
    tolerance: float = 0.0
    method: str = "POST"

    def __post_init__(self) -> None:
        if self.expected is _NOT_GIVEN:
            raise ValueError(
                f"Workload({self.path!r}, ...) needs the right answer, as in expected={{'score': 0.4}}: "
                "every answer is compared with it, so that a fast wrong one is no success"
            )
        if self.method not in _METHODS:
            raise ValueError(
                f"Workload({self.path!r}, ...): method={self.method!r} must be one of {', '.join(_METHODS)}"
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
        """Make a request whose body is a JSON document.

        Parameters
        ----------
        path, expected, tolerance:
            As in `Workload`.
        document:
            The document, which `json.dumps` writes to the body.
        headers:
            Headers in addition to the content type.
        """
        content_type = {"Content-Type": "application/json"}
        return cls(path, json.dumps(document).encode(), {**content_type, **(headers or {})}, expected, tolerance)

    @classmethod
    def multipart(
        cls,
        path: str,
        files: Mapping[str, tuple[str, bytes, str]],
        *,
        expected: object,
        fields: Mapping[str, str] | None = None,
        tolerance: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> "Workload":
        """Make a request that uploads files as a browser's form does.

        Parameters
        ----------
        files:
            The name of each file, its bytes and its content type, by the name of the field.
        fields:
            Values of other fields.
        path, expected, tolerance, headers:
            As in `from_json`.
        """
        parts = [_part(name, value.encode()) for name, value in (fields or {}).items()]
        parts += [_part(name, body, file, kind) for name, (file, body, kind) in files.items()]
        # The boundary depends on the parts alone, so that both sides of a comparison send the same bytes.
        boundary = hashlib.sha256(b"".join(parts)).hexdigest()
        body = b"".join(f"--{boundary}\r\n".encode() + part for part in parts) + f"--{boundary}--\r\n".encode()
        content_type = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return cls(path, body, {**content_type, **(headers or {})}, expected, tolerance)

    @property
    def right_answer(self) -> Expected:
        """The right answer, with which an answer's body is compared."""
        if isinstance(self.expected, Text | Raw | Lines | Checked):
            return self.expected
        return Json(self.expected, self.tolerance)

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is a stream, whose first piece a client uses before it has the others."""
        return isinstance(self.expected, Lines)

    @property
    def parts(self) -> "Sequence[tuple[float, Workload]]":
        """Itself, as a set of one."""
        return ((1.0, self),)

    def with_header(self, name: str, value: str) -> "Workload":
        """Return the same request with one more header."""
        return replace(self, headers={**self.headers, name: value})

    def to_json(self) -> list[dict[str, object]]:
        """Convert it to JSON for the job of the client process."""
        return WeightedSet(self.parts).to_json()


@dataclass(frozen=True)
class WeightedSet:
    """Several requests, sent in a random order that is the same in each run and for each service.

    Client processes that share a load have an order each, so that they don't all send the same request at a time.

        WeightedSet([(9, small_photo), (1, large_photo)])

    Attributes
    ----------
    parts:
        Each request with its weight: how often it is sent, relative to the others.
    """

    parts: Sequence[tuple[float, Workload]]

    def __post_init__(self) -> None:
        if not self.parts or not all(weight > 0 for weight, _ in self.parts):
            raise ValueError("WeightedSet needs at least one request, and a weight above 0 for each")

    def order(self, seed: str = "0") -> Iterator[Workload]:
        """The requests in a random order that the seed decides, without an end."""
        rng = random.Random(seed)
        weights, workloads = zip(*self.parts, strict=True)
        while True:
            yield from rng.choices(workloads, weights, k=1000)

    def with_header(self, name: str, value: str) -> "WeightedSet":
        """The same requests with one header more."""
        return WeightedSet([(weight, workload.with_header(name, value)) for weight, workload in self.parts])

    def to_json(self) -> list[dict[str, object]]:
        """Convert it to JSON for the job of the client process."""
        return [
            {
                "weight": weight,
                "path": workload.path,
                "body": base64.b64encode(workload.body).decode(),
                "headers": dict(workload.headers),
                "expected": workload.right_answer.to_json(),
                "method": workload.method,
            }
            for weight, workload in self.parts
        ]


# A target sends one request, or several.
Requests = Workload | WeightedSet


def parse_requests(documents: Sequence[Mapping[str, Any]]) -> Requests:
    """The inverse of `to_json`."""
    parts = [(document["weight"], _parse(document)) for document in documents]
    return parts[0][1] if len(parts) == 1 else WeightedSet(parts)


def _parse(document: Mapping[str, Any]) -> Workload:
    expected = parse_expected(document["expected"])
    return Workload(
        document["path"],
        base64.b64decode(document["body"]),
        document["headers"],
        expected.document if isinstance(expected, Json) else expected,
        expected.tolerance if isinstance(expected, Json) else 0.0,
        document["method"],
    )


def _part(name: str, body: bytes, file: str | None = None, content_type: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file is not None else ""
    lines = [f'Content-Disposition: form-data; name="{name}"{named}']
    lines += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([*lines, "", ""]).encode() + body + b"\r\n"

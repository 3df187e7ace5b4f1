"""Right answers, with which an answer's body is compared as JSON, text, bytes or lines, or by a function."""

import base64
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

# A message shows at most this many characters of a text, or this many bytes.
_SHOWN, _HEAD = 200, 16
# A message names at most this many wrong places of an answer.
_MOST_TOLD = 5
# A line of server-sent events begins with `data:`, or with the name of a field that only the connection needs.
_DATA, _EVENT_FIELDS = "data:", ("event:", "id:", "retry:", ":")


class Expected(Protocol):
    """A right answer, with which the load client compares each answer."""

    def find_wrong(self, body: bytes) -> str | None:
        """Describe what is wrong with an answer's body; None if it is right."""

    def to_json(self) -> dict[str, object]:
        """Convert it to JSON for the job of the client process; `parse_expected` reads it."""


@dataclass(frozen=True)
class Json:
    """A JSON document. Each number of an answer may differ from the expected number by up to the tolerance."""

    document: object
    tolerance: float = 0.0

    def find_wrong(self, body: bytes) -> str | None:
        """See `Expected`."""
        try:
            answer = json.loads(body)
        except ValueError:
            return f"not JSON: {body[:_SHOWN]!r}"
        return difference(self.document, answer, self.tolerance)

    def to_json(self) -> dict[str, object]:
        """See `Expected`."""
        return {"json": self.document, "tolerance": self.tolerance}


@dataclass(frozen=True)
class Text:
    """A text in UTF-8, which must be the same."""

    text: str

    def find_wrong(self, body: bytes) -> str | None:
        """See `Expected`."""
        answer = body.decode(errors="replace")
        return None if answer == self.text else f"answer is {answer[:_SHOWN]!r}, expected {self.text[:_SHOWN]!r}"

    def to_json(self) -> dict[str, object]:
        """See `Expected`."""
        return {"text": self.text}


@dataclass(frozen=True)
class Raw:
    """A body of bytes, each of which must be the same."""

    body: bytes

    def find_wrong(self, body: bytes) -> str | None:
        """See `Expected`."""
        if body == self.body:
            return None
        here, right = body[:_HEAD], self.body[:_HEAD]
        return f"answer is {len(body)} bytes from {here!r} on, expected {len(self.body)} from {right!r} on"

    def to_json(self) -> dict[str, object]:
        """See `Expected`."""
        return {"raw": base64.b64encode(self.body).decode()}


@dataclass(frozen=True)
class Lines:
    """The documents of a stream, one per line or per server-sent event; a line that isn't JSON counts as a text."""

    documents: Sequence[object]
    tolerance: float = 0.0

    def find_wrong(self, body: bytes) -> str | None:
        """See `Expected`."""
        return difference(list(self.documents), read_lines(body), self.tolerance)

    def to_json(self) -> dict[str, object]:
        """See `Expected`."""
        return {"lines": list(self.documents), "tolerance": self.tolerance}


@dataclass(frozen=True)
class Checked:
    """A function that takes the body and returns a message about what is wrong, or None for a right answer.

    The load client runs in a process of its own, and imports the function's module from the folder in which this
    process found it.

    Raises
    ------
    ValueError
        If the function can't be imported by its name, for example because it is a lambda.
    """

    function: Callable[[bytes], str | None]

    def __post_init__(self) -> None:
        module = importlib.import_module(self.function.__module__)
        if module.__spec__ is None or getattr(module, self.function.__qualname__, None) is not self.function:
            raise ValueError(
                f"{self.function!r} can't check answers: the load client runs in a process of its own and imports the "
                "function by its name, so it must be a function of a module, not a lambda or a function within another"
            )

    def find_wrong(self, body: bytes) -> str | None:
        """See `Expected`. If the function raises an exception, the answer counts as wrong."""
        try:
            return self.function(body)
        except Exception as error:
            return f"{self.function.__qualname__} failed on it: {error!r}"

    def to_json(self) -> dict[str, object]:
        """See `Expected`."""
        module = self.function.__module__
        return {"module": module, "function": self.function.__qualname__, "folder": _import_folder(module)}


def parse_expected(document: dict[str, Any]) -> Expected:
    """Read a document that `Expected.to_json` has made."""
    if "json" in document:
        return Json(document["json"], document["tolerance"])
    if "lines" in document:
        return Lines(document["lines"], document["tolerance"])
    if "text" in document:
        return Text(document["text"])
    if "raw" in document:
        return Raw(base64.b64decode(document["raw"]))
    if document["folder"] not in sys.path:
        sys.path.append(document["folder"])
    return Checked(getattr(importlib.import_module(document["module"]), document["function"]))


def _import_folder(name: str) -> str:
    """Return the folder of `sys.path` in which Python found a module; pytest adds a test file's own folder to it."""
    spec = importlib.import_module(name).__spec__
    assert spec is not None  # the module was imported by its name
    is_package = spec.submodule_search_locations is not None
    return str(Path(str(spec.origin)).resolve().parents[name.count(".") + is_package])


def read_lines(body: bytes) -> list[object]:
    """Read the documents of a stream; see `Lines`."""
    lines = [line.strip() for line in body.decode(errors="replace").split("\n")]
    return [_parse(line.removeprefix(_DATA).strip()) for line in lines if line and not line.startswith(_EVENT_FIELDS)]


def _parse(line: str) -> object:
    try:
        document: object = json.loads(line)
    except ValueError:
        return line
    return document


def difference(expected: object, actual: object, tolerance: float) -> str | None:
    """Describe what is wrong with a JSON answer, at the first places where it differs; None if it is right."""
    found = list(islice(_find_differences(expected, actual, tolerance, "answer"), _MOST_TOLD + 1))
    more = "; and more" if len(found) > _MOST_TOLD else ""
    return "; ".join(found[:_MOST_TOLD]) + more if found else None


def _find_differences(expected: object, actual: object, tolerance: float, where: str) -> Iterator[str]:
    if isinstance(expected, bool) or not isinstance(expected, int | float | dict | list):
        # Compare the types, too: in Python True == 1.
        if type(expected) is not type(actual) or expected != actual:
            yield f"{where} is {actual!r}, expected {expected!r}"
    elif isinstance(expected, int | float):
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            yield f"{where} is {actual!r}, expected a number"
        elif not abs(actual - expected) <= tolerance:  # with `>` NaN would count as right
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

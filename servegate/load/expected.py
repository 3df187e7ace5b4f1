"""Right answers: what an answer's body is compared with, as JSON, text, bytes or lines, or by a function."""

import base64
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

# The most characters, and the most bytes, of an answer that a message shows.
_SHOWN, _HEAD = 200, 16
# The most wrong places of an answer that a message names.
_MOST_TOLD = 5
# How lines of server-sent events begin: with data, or with fields that only the connection needs.
_DATA, _EVENT_FIELDS = "data:", ("event:", "id:", "retry:", ":")


class Expected(Protocol):
    """A right answer."""

    def find_wrong(self, body: bytes) -> str | None:
        """Describe what is wrong with an answer's body; None if it is right."""

    def to_json(self) -> dict[str, object]:
        """Write it for the client process's job; `parse_expected` reads it."""


@dataclass(frozen=True)
class Json:
    """A JSON document; each number of an answer may lie as far as the tolerance from its own."""

    document: object
    tolerance: float = 0.0

    def find_wrong(self, body: bytes) -> str | None:
        """As `Expected` has it."""
        try:
            answer = json.loads(body)
        except ValueError:
            return f"not JSON: {body[:_SHOWN]!r}"
        return difference(self.document, answer, self.tolerance)

    def to_json(self) -> dict[str, object]:
        """As `Expected` has it."""
        return {"json": self.document, "tolerance": self.tolerance}


@dataclass(frozen=True)
class Text:
    """A text in UTF-8."""

    text: str

    def find_wrong(self, body: bytes) -> str | None:
        """As `Expected` has it."""
        answer = body.decode(errors="replace")
        return None if answer == self.text else f"answer is {answer[:_SHOWN]!r}, expected {self.text[:_SHOWN]!r}"

    def to_json(self) -> dict[str, object]:
        """As `Expected` has it."""
        return {"text": self.text}


@dataclass(frozen=True)
class Raw:
    """Bytes."""

    body: bytes

    def find_wrong(self, body: bytes) -> str | None:
        """As `Expected` has it."""
        if body == self.body:
            return None
        here, right = body[:_HEAD], self.body[:_HEAD]
        return f"answer is {len(body)} bytes from {here!r} on, expected {len(self.body)} from {right!r} on"

    def to_json(self) -> dict[str, object]:
        """As `Expected` has it."""
        return {"raw": base64.b64encode(self.body).decode()}


@dataclass(frozen=True)
class Lines:
    """A stream's documents, one a line or one a server-sent event; a line that isn't JSON counts as a text."""

    documents: Sequence[object]
    tolerance: float = 0.0

    def find_wrong(self, body: bytes) -> str | None:
        """As `Expected` has it."""
        return difference(list(self.documents), read_lines(body), self.tolerance)

    def to_json(self) -> dict[str, object]:
        """As `Expected` has it."""
        return {"lines": list(self.documents), "tolerance": self.tolerance}


@dataclass(frozen=True)
class Checked:
    """A function of a module: it gets the body and says what is wrong, or None.

    The load client, a process of its own, imports the module from the folder in which this process found it.

    Raises
    ------
    ValueError
        For a function that no module has by its name, as a lambda.
    """

    function: Callable[[bytes], str | None]

    def __post_init__(self) -> None:
        module = importlib.import_module(self.function.__module__)
        if module.__spec__ is None or getattr(module, self.function.__qualname__, None) is not self.function:
            raise ValueError(
                f"{self.function!r} can't check answers: the load client runs in a process of its own and imports it "
                "by its name, so it must be a function of a module, not a lambda or a function within another"
            )

    def find_wrong(self, body: bytes) -> str | None:
        """As `Expected` has it; a function that fails finds the answer wrong."""
        try:
            return self.function(body)
        except Exception as error:
            return f"{self.function.__qualname__} failed on it: {error!r}"

    def to_json(self) -> dict[str, object]:
        """As `Expected` has it."""
        module = self.function.__module__
        return {"module": module, "function": self.function.__qualname__, "folder": _import_folder(module)}


def parse_expected(document: dict[str, Any]) -> Expected:
    """The inverse of `Expected.to_json`."""
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
    """The folder on Python's path in which a module was found; pytest puts a test file's own folder there."""
    spec = importlib.import_module(name).__spec__
    assert spec is not None  # the module was imported by its name
    is_package = spec.submodule_search_locations is not None
    return str(Path(str(spec.origin)).resolve().parents[name.count(".") + is_package])


def read_lines(body: bytes) -> list[object]:
    """The documents of a stream, as `Lines` has them."""
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

"""Asks the service, and takes its answers for the right ones if they are always the same."""

import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servegate.errors import SetupError
from servegate.load.expected import Json, Lines, Text, read_lines
from servegate.load.workload import Workload
from servegate.processes.local_http import open_local
from servegate.setup.requests import GivenRequest

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Exchange:
    """A request and its right answer."""

    request: GivenRequest
    expected: Json | Lines | Text

    @classmethod
    def from_document(cls, request: GivenRequest, document: object) -> "Exchange":
        """The exchange whose right answer a user gave as JSON; of a stream it is the list of its documents."""
        tolerance = choose_tolerance(document)
        if request.is_stream:
            documents = document if isinstance(document, list) else [document]
            return cls(request, Lines(documents, tolerance))
        return cls(request, Json(document, tolerance))

    @classmethod
    def from_body(cls, request: GivenRequest, body: bytes) -> "Exchange":
        """The exchange whose answer has this body.

        Raises
        ------
        SetupError
            When it is neither JSON nor a text.
        """
        if request.is_stream:
            return cls.from_document(request, read_lines(body))
        try:
            return cls.from_document(request, json.loads(body))
        except ValueError:
            pass  # a text, then
        try:
            return cls(request, Text(body.decode()))
        except UnicodeDecodeError:
            raise SetupError(
                f"POST {request.path} answered {len(body)} bytes that are no text; write its test by hand, "
                "with expected=Raw(...) of servegate.api"
            ) from None

    def require(self, body: bytes) -> None:
        """Compare another answer to the request with the right one.

        Raises
        ------
        SetupError
            When the two differ.
        """
        wrong = self.expected.find_wrong(body)
        if wrong is not None:
            raise SetupError(f"POST {self.request.path}: {wrong}")


def choose_tolerance(document: object) -> float:
    """Choose how far a number of an answer may lie from the expected one.

    It is a hundredth to a thousandth of the largest number that has a fraction; without one 0.
    """
    largest = max((abs(number) for number in _fractions(document)), default=0.0)
    return float(f"1e{math.floor(math.log10(largest)) - 2}") if largest else 0.0


def _fractions(document: object) -> Iterator[float]:
    """The numbers of a document that have a fraction, or could."""
    if isinstance(document, float) and math.isfinite(document):
        yield document
    elif isinstance(document, dict | list):
        for item in document.values() if isinstance(document, dict) else document:
            yield from _fractions(item)


def ask(url: str, workload: Workload) -> bytes:
    """Send a request once, and return the body of its answer.

    Raises
    ------
    SetupError
        When there is none, or its status isn't 200.
    """
    where = f"POST {workload.path}"
    request = urllib.request.Request(url + workload.path, workload.body, dict(workload.headers))
    try:
        with open_local(request, timeout=_TIMEOUT_S) as response:
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        said = error.read()[:300].decode(errors="replace")
        raise SetupError(f"{where} answered with status {error.code}: {said}") from None
    except (OSError, http.client.HTTPException) as error:
        raise SetupError(f"{where} was not answered: {error}") from None
    return body


def ask_twice(url: str, request: GivenRequest, root: Path) -> tuple[Exchange, bytes]:
    """Ask an endpoint twice, and check that it gives the same answer.

    Returns
    -------
    tuple
        The exchange, and the body that it was made of.

    Raises
    ------
    SetupError
        When the second answer differs, or as `ask`.
    """
    workload = request.workload(root, expected=None)
    body = ask(url, workload)
    exchange = Exchange.from_body(request, body)
    other = exchange.expected.find_wrong(ask(url, workload))
    if other is not None:
        raise SetupError(
            f"POST {request.path} gave two different answers to one request: {other}. servegate compares each answer "
            "with the right one: fix the seed (or a temperature of 0), or leave out what changes, as a time or an id"
        )
    return exchange, body

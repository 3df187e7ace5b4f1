"""The request that each endpoint is sent, and the answer that the service gives to it."""

import http.client
import json
import math
import mimetypes
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servegate.errors import SetupError
from servegate.load.expected import difference
from servegate.load.workload import Workload
from servegate.setup.server_code import Endpoint

_TIMEOUT_S = 60.0
# A proxy of the environment has no business between us and 127.0.0.1.
_open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class GivenRequest:
    """What an endpoint is sent: a JSON document, or a file's bytes.

    Attributes
    ----------
    file:
        From the project's root; None for a document.
    """

    path: str
    document: object = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str, path: str, root: Path) -> "GivenRequest":
        """Read `{"text": "I love it."}` or `@photo.jpg`.

        Raises
        ------
        SetupError
            When it is neither, or the file isn't there.
        """
        if text.startswith("@"):
            if not (root / text[1:]).is_file():
                raise SetupError(f"the request {text!r} for POST {path}: there is no file {text[1:]} in {root}")
            return cls(path, file=text[1:])
        return cls(path, document=parse_json(text, f"the request for POST {path}"))

    @property
    def content_type(self) -> str:
        """Of a file by its name, else of JSON."""
        if self.file is None:
            return "application/json"
        return mimetypes.guess_type(self.file)[0] or "application/octet-stream"

    def workload(self, root: Path, expected: object) -> Workload:
        """The request as servegate sends it."""
        if self.file is None:
            return Workload.from_json(self.path, self.document, expected=expected)
        body = (root / self.file).read_bytes()
        return Workload(self.path, body, {"Content-Type": self.content_type}, expected=expected)


@dataclass(frozen=True)
class Exchange:
    """A request and its right answer."""

    request: GivenRequest
    expected: object

    @property
    def tolerance(self) -> float:
        """How far a number of an answer may lie from the expected one.

        It is a hundredth to a thousandth of the largest number that has a fraction; without one 0.
        """
        largest = max((abs(number) for number in _fractions(self.expected)), default=0.0)
        return float(f"1e{math.floor(math.log10(largest)) - 2}") if largest else 0.0

    def require(self, answer: object) -> None:
        """Compare another answer to the request with the right one.

        Raises
        ------
        SetupError
            When it is another one.
        """
        wrong = difference(self.expected, answer, self.tolerance)
        if wrong is not None:
            raise SetupError(f"POST {self.request.path}: {wrong}")


def parse_json(text: str, what: str) -> object:
    """The document.

    Raises
    ------
    SetupError
        For anything else, with an example.
    """
    try:
        document: object = json.loads(text)
    except ValueError as error:
        raise SetupError(f'{what} is {text!r}, which is no JSON ({error}); write it like {{"text": "good"}}') from None
    return document


def match_paths(given: Sequence[str], endpoints: Sequence[Endpoint], option: str) -> Mapping[str, str]:
    """What `--request /predict={"text": "good"}` gives to each endpoint; with one endpoint its path may be left out.

    Raises
    ------
    SetupError
        When it isn't clear which endpoint is meant, or there is no such one.
    """
    paths = [endpoint.path for endpoint in endpoints]
    found = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not (equals and path.startswith("/")):
            path, value = paths[0] if len(paths) == 1 else "", text
        if path not in paths:
            raise SetupError(
                f"{option} {text!r}: which endpoint is it for? The service has {', '.join(paths)}; "
                f"write {option} {paths[0]}=…"
            )
        found[path] = value
    return found


def ask(url: str, workload: Workload) -> object:
    """Send a request once, and return the JSON document that answers it.

    Raises
    ------
    SetupError
        For any other answer.
    """
    where = f"POST {workload.path}"
    request = urllib.request.Request(url + workload.path, workload.body, dict(workload.headers))
    try:
        with _open_url(request, timeout=_TIMEOUT_S) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        said = error.read()[:300].decode(errors="replace")
        raise SetupError(f"{where} answered with status {error.code}: {said}") from None
    except (OSError, http.client.HTTPException) as error:
        raise SetupError(f"{where} was not answered: {error}") from None
    try:
        answer: object = json.loads(body)
    except ValueError:
        raise SetupError(
            f"{where} answered something else than JSON: {body[:100]!r}; servegate compares JSON answers, "
            "so this endpoint can't be guarded"
        ) from None
    return answer


def ask_twice(url: str, request: GivenRequest, root: Path) -> Exchange:
    """Ask an endpoint, and check that it gives the same answer again.

    Raises
    ------
    SetupError
        When it doesn't, or as `ask`.
    """
    workload = request.workload(root, expected=None)
    exchange = Exchange(request, ask(url, workload))
    other = difference(exchange.expected, ask(url, workload), exchange.tolerance)
    if other is not None:
        raise SetupError(
            f"POST {request.path} gave two different answers to one request: {other}. servegate compares each answer "
            "with the right one: fix the seed (or a temperature of 0), or leave out what changes, as a time or an id"
        )
    return exchange


def _fractions(document: object) -> Iterator[float]:
    """The numbers of a document that have a fraction, or could."""
    if isinstance(document, float) and math.isfinite(document):
        yield document
    elif isinstance(document, dict | list):
        for item in document.values() if isinstance(document, dict) else document:
            yield from _fractions(item)

"""The request that each endpoint is sent, as a user gives it."""

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from servegate.errors import SetupError
from servegate.load.workload import Workload
from servegate.setup.server_code import Endpoint


@dataclass(frozen=True)
class GivenRequest:
    """The request that an endpoint is sent: a JSON document, or a file.

    Attributes
    ----------
    file:
        The path of the file from the project's root; None for a document.
    field:
        The field of the form with the file; None to send the bytes of the file alone.
    is_stream:
        Whether the answer is a stream.
    """

    path: str
    document: object = None
    file: str | None = None
    field: str | None = None
    is_stream: bool = False

    @classmethod
    def parse(cls, text: str, endpoint: Endpoint, root: Path) -> "GivenRequest":
        """Read `{"text": "I love it."}` or `@photo.jpg`.

        Raises
        ------
        SetupError
            When it is neither, when the file isn't there, or when the endpoint takes nothing but a file.
        """
        path = endpoint.path
        if not text.startswith("@"):
            if endpoint.takes_form:
                raise SetupError(f"POST {path} takes an uploaded file: give one of the project, as {path}=@photo.jpg")
            document = parse_json(text, f"the request for POST {path}")
            return cls(path, document=document, is_stream=endpoint.is_stream)
        if not (root / text[1:]).is_file():
            raise SetupError(f"the request {text!r} for POST {path}: there is no file {text[1:]} in {root}")
        return cls(path, file=text[1:], field=endpoint.form_field, is_stream=endpoint.is_stream)

    @property
    def content_type(self) -> str:
        """The content type of the file, by its name; without a file that of JSON."""
        if self.file is None:
            return "application/json"
        return mimetypes.guess_type(self.file)[0] or "application/octet-stream"

    @property
    def file_name(self) -> str:
        """The file's name without its folders."""
        return PurePosixPath(self.file or "").name

    def workload(self, root: Path, expected: object) -> Workload:
        """The request as servegate sends it."""
        if self.file is None:
            return Workload.from_json(self.path, self.document, expected=expected)
        body = (root / self.file).read_bytes()
        if self.field is not None:
            upload = {self.field: (self.file_name, body, self.content_type)}
            return Workload.multipart(self.path, upload, expected=expected)
        return Workload(self.path, body, {"Content-Type": self.content_type}, expected=expected)


def parse_json(text: str, what: str) -> object:
    """Read a JSON document.

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
    """Match values like `/predict={"text": "good"}` to endpoints; with one endpoint its path may be left out.

    Raises
    ------
    SetupError
        When it isn't clear which endpoint a value is for, or there is no such endpoint.
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

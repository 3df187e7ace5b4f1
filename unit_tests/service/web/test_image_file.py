"""The image file is found in a body as clients send it, and comes out byte for byte."""

import base64
import json
import random
from collections.abc import Callable

import pytest
import requests
from fastapi import HTTPException

from service.web.image_file import find_image_file
from tools.stress.image_files import encode, quadrants

_JSON = "application/json"
_FORM_URLENCODED = "application/x-www-form-urlencoded"
# Random bytes, so that every letter of base64 stands in it.
_FILE = encode(quadrants(), "PNG") + random.Random(1).randbytes(5_000)
_BASE64 = base64.b64encode(_FILE).decode()


def _image(encoded: str) -> bytes:
    return json.dumps({"image": encoded}).encode()


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/octet-stream", "binary/octet-stream", "image/png", "image/jpg", "IMAGE/JPEG; q=1"),
        pytest.param("", id="none"),
        pytest.param(_FORM_URLENCODED, id="curl --data-binary"),
    ],
)
def test_raw_bytes_are_taken_as_they_are(content_type: str) -> None:
    assert find_image_file(_FILE, content_type) == _FILE


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "text/json", "application/vnd.api+json", "Application/JSON;charset=UTF-8", "text/x-json"),
        pytest.param("", id="none"),
        pytest.param(_FORM_URLENCODED, id="curl --data"),
    ],
)
def test_json_is_json_whatever_its_type_is_called(content_type: str) -> None:
    assert find_image_file(_image(_BASE64), content_type) == _FILE
    assert find_image_file(b" \r\n\t" + _image(_BASE64), content_type) == _FILE
    assert find_image_file(b"\xef\xbb\xbf" + _image(_BASE64), content_type) == _FILE


def _lines(width: int, end: str) -> str:
    return end.join(_BASE64[start : start + width] for start in range(0, len(_BASE64), width))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(base64.encodebytes(_FILE).decode(), id="lines of Python's encodebytes"),
        pytest.param(_lines(76, "\r\n"), id="lines of Java's MIME encoder"),
        pytest.param(_lines(64, "\n"), id="lines of openssl"),
        pytest.param(_BASE64 + "\n", id="the base64 command"),
        pytest.param(base64.urlsafe_b64encode(_FILE).decode(), id="URL-safe"),
        pytest.param(base64.urlsafe_b64encode(_FILE).decode().rstrip("="), id="URL-safe without padding"),
        pytest.param(_BASE64.rstrip("="), id="without padding"),
        pytest.param(f"data:image/png;base64,{_BASE64}", id="data URL"),
        pytest.param(f"data:image/svg-x;charset=utf-8;base64,{_lines(76, chr(10))}", id="data URL with lines"),
        pytest.param(f"  DATA:;BASE64,{_BASE64}", id="data URL without a type"),
    ],
)
def test_base64_may_be_written_as_people_write_it(encoded: str) -> None:
    assert find_image_file(_image(encoded), _JSON) == _FILE


def test_json_may_escape_what_it_likes() -> None:
    """PHP escapes the slash, .NET the plus sign."""
    assert find_image_file(_image(_BASE64).replace(b"/", b"\\/").replace(b"+", b"\\u002B"), _JSON) == _FILE


def _with_commas(count: int) -> str:
    """The file in JSON that has so many commas, one of them before the array."""
    return f'{{"image": "{_BASE64}", "other": [[]{",[]" * (count - 1)}]}}'


def test_json_may_have_other_fields() -> None:
    assert find_image_file(_with_commas(100_000).encode(), _JSON) == _FILE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_json_with_very_many_values_is_not_read(encoding: str) -> None:
    """A body of nothing but small values would keep all other requests waiting for seconds."""
    with pytest.raises(HTTPException, match="400: the JSON has more than 100,000 commas; send one"):
        find_image_file(_with_commas(100_001).encode(encoding), _JSON)


@pytest.mark.parametrize("encoded", ["A" * 5, f"data:image/png,{_BASE64}", "A" * 9, "AA=A", "\u0410AAA", "A\0AA"])
def test_what_is_no_base64_is_told_so(encoded: str) -> None:
    with pytest.raises(HTTPException, match="400: the field 'image' is not base64"):
        find_image_file(_image(encoded), _JSON)


def _by_requests(**form: object) -> tuple[bytes, str]:
    prepared = requests.Request("POST", "http://test", **form).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, prepared.headers["content-type"]


def _by_browser(file: bytes, *, field: str = "file", more: bytes = b"") -> tuple[bytes, str]:
    body = (
        b"------WebKitFormBoundaryeBRb\r\n"
        b'Content-Disposition: form-data; name="%s"; filename="K\xc3\xa4tz;chen \\"1\\".png"\r\n'
        b"Content-Type: image/png\r\n\r\n%s\r\n%s------WebKitFormBoundaryeBRb--\r\n"
    ) % (field.encode(), file, more)
    return body, "multipart/form-data; boundary=----WebKitFormBoundaryeBRb"


_NOBODY_CHOSE_ONE = (
    b"------WebKitFormBoundaryeBRb\r\n"
    b'Content-Disposition: form-data; name="other"; filename=""\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n"
)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda file: _by_requests(files={"file": file}), id="requests"),
        pytest.param(
            lambda file: _by_requests(files={"image": ("cat.png", file, "image/png")}, data={"model": "b", "top": "5"}),
            id="requests with other fields",
        ),
        pytest.param(lambda file: _by_requests(files={"image": (None, file)}), id="a field 'image' that is no file"),
        pytest.param(_by_browser, id="a browser"),
        pytest.param(lambda file: _by_browser(file, more=_NOBODY_CHOSE_ONE), id="a browser, a second file not chosen"),
        pytest.param(
            lambda file: (
                b"preamble\r\n--a b  \r\ncontent-disposition:form-data;name=f;filename*=UTF-8''%%e2.png\r\n\r\n"
                b"%s\r\n--a b--\r\nepilogue" % file,
                'Multipart/Form-Data; charset=utf-8; Boundary="a b"',
            ),
            id="as RFC 7578 allows",
        ),
    ],
)
@pytest.mark.parametrize("file", [_FILE, b"\r\n--\r\n", b"\r\n\r\n", b"-", b"\n" * 100], ids=range(5))
def test_the_file_of_a_form_is_the_image(make: Callable[[bytes], tuple[bytes, str]], file: bytes) -> None:
    """Byte for byte, whatever looks like the form's own lines in it."""
    assert find_image_file(*make(file)) == file


_GOOD, _TYPE = _by_browser(_FILE)


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        (*_by_requests(files={"a": _FILE, "b": _FILE}), "422: the form has 2 image files, must be one"),
        (*_by_requests(files={"a": (None, _FILE)}), "422: the form has 0 image files"),
        (_NOBODY_CHOSE_ONE + b"------WebKitFormBoundaryeBRb--", _TYPE, "422: the form has 0 image files"),
        (_GOOD, "multipart/form-data", "400: .* names no boundary; let the HTTP library write this header"),
        (_GOOD, "multipart/form-data; boundary=", "400: .* names no boundary"),
        (_GOOD, "multipart/form-data; boundary=other", "400: .*its last boundary is missing"),
        (_GOOD[:-200], _TYPE, "400: .*its last boundary is missing"),
        (b"", _TYPE, "400: .*its last boundary is missing"),
        (_GOOD.replace(b"\r\n\r\n", b"", 1), _TYPE, "400: .*the headers of a part have no end"),
        (b"\r\n--x" * 300_000, "multipart/form-data; boundary=x", "400: .*more than 100 parts"),
        (_FILE, "multipart/form-data; boundary*1*=\xff'\x00'%ff; boundary*=", "400: "),
        (_FILE, "multipart/mixed; boundary=x", "415: content type 'multipart/mixed' is not supported"),
        (_FILE, "text/plain", "415: .*send application/json, multipart/form-data, application/octet-stream or image/"),
    ],
    # Not by their values: requests makes a boundary at random, and xdist's workers must collect the same names.
    ids=map(str, range(13)),
)
def test_a_form_that_is_none_is_told_what_is_wrong(body: bytes, content_type: str, detail: str) -> None:
    with pytest.raises(HTTPException) as caught:
        find_image_file(body, content_type)
    caught.match(f"^{detail}")

"""Bad requests of every kind, as the bytes that a client sends, each with the status that it must get."""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from perf_tests.photos import cat_jpeg
from tools.stress.image_files import (
    cat_png,
    encode,
    exif,
    json_body,
    quadrants,
    segment,
    with_chunks,
    with_scans,
    with_segments,
)

MAX_IMAGE_BYTES = 2_000_000
"""What a server must be told for two of the kinds; they would be larger with its default."""


@dataclass(frozen=True)
class BadRequest:
    """The bytes to send on a separate connection, and the status of the answer.

    Attributes
    ----------
    status:
        None if the client ends its side before it has sent everything announced, since no client waits for an answer.
    """

    name: str
    sent: bytes
    status: int | None

    @property
    def is_cut_off(self) -> bool:
        """Whether the client ends its side of the connection when this is sent."""
        return self.status is None


def _post(body: bytes, *headers: str, content_type: str = "application/json", length: int | None = None) -> bytes:
    head = [
        "POST /predict HTTP/1.1",
        "Host: test",
        "Connection: close",
        f"Content-Type: {content_type}",
        *headers,
    ]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*head, "", ""]).encode() + body


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _base64(data: bytes) -> bytes:
    return _json({"image": base64.b64encode(data).decode()})


def _chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def _bodies() -> Iterator[tuple[str, bytes, int]]:
    cat = base64.b64encode(cat_jpeg()).decode()
    png, corrupt = cat_png(), bytearray(cat_png())
    corrupt[len(corrupt) // 2] ^= 0xFF
    yield "no body", b"", 400
    yield "half a JSON document", b'{"image": "', 400
    yield "an array", b"[]", 422
    yield "a string", b'"image"', 422
    yield "null", b"null", 422
    yield "no field", b"{}", 422
    yield "the field null", _json({"image": None}), 422
    yield "a number", _json({"image": 1e99}), 422
    yield "a boolean", _json({"image": True}), 422
    yield "an array of images", _json({"image": [cat]}), 422
    yield "an object", _json({"image": {"image": cat}}), 422
    yield "the field twice", f'{{"image": "{cat}", "image": 5}}'.encode(), 422
    yield "deep nesting", b"[" * 200_000, 400
    yield "NUL bytes", b"\0" * 1_000, 400
    yield "not UTF-8", b'{"image": "\xff\xfe"}', 400
    yield "not base64", b'{"image": "@@@@"}', 400
    yield "base64 without its padding", _json({"image": cat[:-3]}), 400
    yield "letters beyond ASCII", _json({"image": "Kätzchen"}), 400
    yield "an empty file", _base64(b""), 422
    yield "text", _base64(b"a cat"), 415
    yield "half a JPEG", _base64(cat_jpeg()[:9_000]), 422
    yield "half a PNG", _base64(png[: len(png) // 2]), 422
    yield "a PNG with a wrong byte", _base64(bytes(corrupt)), 422
    yield "a TIFF", _base64(encode(quadrants(), "TIFF")), 415
    yield "an SVG", _base64(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 415
    scans = with_scans(encode(quadrants(), "JPEG", progressive=True), 3_000)
    yield "thousands of scans", _base64(scans), 413
    yield "thousands of segments", _base64(with_segments(cat_jpeg(), segment(0xFE, b"") * 100_000)), 413
    entries = segment(0xE1, b"Exif\0\0" + exif([(0x9000, 7, 4, b"abcd")]))
    yield "EXIF in thousands of segments", _base64(with_segments(cat_jpeg(), entries * 30_000)), 413
    yield "thousands of PNG chunks", _base64(with_chunks(png, *[(b"tEXt", b"a\0b")] * 60_000)), 413
    yield "too many pixels", _base64(encode(Image.new("1", (9_000, 9_000)), "PNG")), 413
    yield "a file of too many bytes", _base64(cat_jpeg() + b"\0" * MAX_IMAGE_BYTES), 413


def bad_requests() -> list[BadRequest]:
    """One of each kind."""
    good = json_body(cat_jpeg())
    file = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + cat_jpeg() + b"\r\n"
    form_type, chunked = "multipart/form-data; boundary=x", "Transfer-Encoding: chunked"
    endless = _chunked(*[b" " * 100_000] * 40)
    return [
        *(BadRequest(name, _post(body), status) for name, body, status in _bodies()),
        BadRequest("a content type that isn't supported", _post(cat_jpeg(), content_type="text/plain"), 415),
        BadRequest("a form with two files", _post(file + file + b"--x--", content_type=form_type), 422),
        BadRequest("a form without an end", _post(file, content_type=form_type), 400),
        BadRequest("a form of nothing but boundaries", _post(b"--x\r\n" * 300_000, content_type=form_type), 400),
        BadRequest("no image and no type", _post(b"cat", content_type=""), 415),
        BadRequest("a form of fields", _post(b"image=cat", content_type="application/x-www-form-urlencoded"), 415),
        BadRequest("a compressed transfer", _post(_chunked(good, b""), "Transfer-Encoding: gzip, chunked"), 501),
        BadRequest("a tunnel", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 501),
        BadRequest("an offer, and a bad body", _post(b"{", "Connection: Upgrade", "Upgrade: h2c"), 400),
        BadRequest("a compressed body", _post(gzip.compress(good), "Content-Encoding: gzip"), 400),
        BadRequest("a body declared too large", _post(b"{}", length=10**12), 413),
        BadRequest("a body of chunks that is too large", _post(endless, chunked), 413),
        BadRequest("a chunk without its size", _post(b"zz\r\nzz\r\n", chunked), 400),
        BadRequest("a length that is none", _post(b"").replace(b"Length: 0", b"Length: -5"), 400),
        BadRequest("headers without an end", b"GET /predict HTTP/1.1\r\nX: " + b"x" * 200_000, 431),
        BadRequest("no HTTP", b"\x16\x03\x01 hello\r\n\r\n", 400),
        BadRequest("another method", _post(good).replace(b"POST", b"PUT", 1), 405),
        BadRequest("another path", _post(good).replace(b"/predict", b"/predictions", 1), 404),
        BadRequest("headers without a body", _post(b"", length=1_000), None),
        BadRequest("chunks without an end", _post(_chunked(b"{"), chunked), None),
    ]

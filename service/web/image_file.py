"""The image file in a request's body: base64 in JSON, a file of a form, or the body itself."""

import binascii
import json
import re

import pybase64
from fastapi import HTTPException

from service.web.form import MULTIPART, file_of_form

# What clients send that name no type of their own: nothing at all, and curl's default for --data-binary.
_SAYS_NOTHING = ("", "application/x-www-form-urlencoded")
# Commas separate values in every encoding of JSON. Millions of values cost gigabytes, and seconds in which no other
# thread of the HTTP process runs; so many cost some hundredths of a second.
_MOST_COMMAS = 100_000
# .NET and PowerShell write it before a text.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_PLAIN = str.maketrans("-_", "+/", " \t\r\n")


def find_image_file(body: bytes, content_type: str) -> bytes:
    """Return the bytes of the image file, which are not checked yet.

    Parameters
    ----------
    content_type:
        The whole header; empty where there is none.

    Raises
    ------
    fastapi.HTTPException
        400 not JSON, no form or not base64, 415 not a supported type, 422 missing or of the wrong type.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _SAYS_NOTHING:
        is_json = body.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[")
        return _file_in_json(body) if is_json else body
    if media_type.endswith(("/json", "/x-json", "+json")):
        return _file_in_json(body)
    if media_type.startswith("image/") or media_type.endswith("/octet-stream"):
        return body
    if media_type == MULTIPART:
        return file_of_form(body, content_type)
    raise HTTPException(
        415,
        f"content type {media_type!r} is not supported; "
        f"send application/json, {MULTIPART}, application/octet-stream or image/*",
    )


def _file_in_json(body: bytes) -> bytes:
    if body.count(b",") > _MOST_COMMAS:
        raise HTTPException(400, f"the JSON has more than {_MOST_COMMAS:,} commas; send one object with one image")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise HTTPException(422, f"the body must be a JSON object with the field 'image', got {_json_type(document)}")
    if "image" not in document:
        raise HTTPException(422, "the field 'image' is missing: it holds the base64 of an image file")
    encoded = document["image"]
    if not isinstance(encoded, str):
        raise HTTPException(422, f"the field 'image' must be a string of base64, got {_json_type(encoded)}")
    return _decode_base64(encoded)


def _decode_base64(encoded: str) -> bytes:
    try:
        return pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        plain = _plain_base64(encoded)
    try:
        return pybase64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"the field 'image' is not base64: {error}") from None


def _plain_base64(encoded: str) -> str:
    """Without what browsers (data URLs), mail libraries (line breaks) and URL-safe encoders make of it."""
    data_url = _DATA_URL.match(encoded)
    letters = encoded[data_url.end() if data_url else 0 :].translate(_PLAIN).rstrip("=")
    return letters + "=" * (-len(letters) % 4)


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array",
        dict: "an object",
    }  # fmt: skip
    return names[type(value)]

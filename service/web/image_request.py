"""An HTTP request to one decoded image. Runs in the HTTP process, so a bad request never reaches a batch."""

import asyncio
import binascii
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import pybase64
from fastapi import Depends, HTTPException, Request
from starlette.requests import ClientDisconnect

from service import metrics
from service.images import (
    CorruptImageError,
    EmptyImageError,
    ImageError,
    ImageReader,
    ImageTooLargeError,
    Pixels,
    UnsupportedImageError,
)
from service.stages import StageTimer
from service.transport.request_table import RequestTable
from service.transport.table_transport import RETRY_AFTER, DecodedImage

_STATUS_OF = {
    EmptyImageError: 422,
    CorruptImageError: 422,
    ImageTooLargeError: 413,
    UnsupportedImageError: 415,
}


@dataclass(frozen=True)
class Intake:
    """How requests are read: limits, geometry, the threads that decode, and where images go.

    The threads are a pool of their own: anyio's way into a thread is far more expensive, see docs/decisions (a cheaper
    way through HTTP).
    """

    reader: ImageReader
    max_image_bytes: int
    request_timeout_s: float
    decoders: ThreadPoolExecutor
    table: RequestTable

    @property
    def max_body_bytes(self) -> int:
        """base64 is four thirds of the file, and the JSON around it takes a little."""
        return self.max_image_bytes * 4 // 3 + 1_024


async def read_image_request(request: Request) -> DecodedImage:
    """Read, check and decode the image of a request, off the event loop.

    Raises
    ------
    fastapi.HTTPException
        400 not JSON or not base64, 408 not sent in time, 413 too large, 415 not a supported type, 422 missing, of the
        wrong type or corrupt, 503 no slot free, 504 not decoded in time.
    """
    intake: Intake = request.app.state.intake
    deadline_s = time.monotonic() + intake.request_timeout_s
    try:
        async with asyncio.timeout(intake.request_timeout_s):
            body = await _read_body(request, intake.max_body_bytes)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {intake.request_timeout_s:g} s") from None
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()

    decoding = StageTimer("decode")

    def decode() -> Pixels:
        with metrics.timed_stage(decoding):
            return decode_body(body, content_type, intake)

    slot = intake.table.arrive(request.app.response_queue_id)
    if slot is None:
        raise HTTPException(503, "no slot is free for this image; try again later", RETRY_AFTER)
    try:
        async with asyncio.timeout(deadline_s - time.monotonic()):
            pixels = await asyncio.get_running_loop().run_in_executor(intake.decoders, decode)
    except TimeoutError:
        intake.table.withdraw(slot)
        raise HTTPException(504, "there was no time left to decode this image") from None
    except BaseException:
        intake.table.withdraw(slot)
        raise
    # No await between here and `TableTransport.put`: a cancellation would leak the slot.
    return DecodedImage(slot, deadline_s, pixels, decoding, request)


ImageFromRequest = Annotated[DecodedImage, Depends(read_image_request)]


async def _read_body(request: Request, max_bytes: int) -> bytes:
    too_large = HTTPException(413, f"the request body is larger than {max_bytes:,} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    received_bytes = 0
    try:
        async for chunk in request.stream():
            received_bytes += len(chunk)
            if received_bytes > max_bytes:
                raise too_large
            chunks.append(chunk)
    except ClientDisconnect:
        raise HTTPException(400, "the request's body was not sent to its end") from None
    return b"".join(chunks)


def decode_body(body: bytes, content_type: str, intake: Intake) -> Pixels:
    """The image in a request's body, uint8 RGB of shape (size, size, 3).

    Raises
    ------
    fastapi.HTTPException
        400, 413, 415 or 422, see `read_image_request`.
    """
    data = _image_bytes(body, content_type)
    if len(data) > intake.max_image_bytes:
        raise HTTPException(413, f"the image has {len(data):,} bytes; at most {intake.max_image_bytes:,} are allowed")
    try:
        return intake.reader.read(data)
    except ImageError as error:
        raise HTTPException(_STATUS_OF[type(error)], str(error)) from None


def _image_bytes(body: bytes, content_type: str) -> bytes:
    if content_type == "application/octet-stream" or content_type.startswith("image/"):
        return body
    if content_type != "application/json":
        raise HTTPException(
            415,
            f"content type {content_type!r} is not supported; "
            "send application/json, application/octet-stream or image/*",
        )
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
    try:
        return pybase64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"the field 'image' is not base64: {error}") from None


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array",
        dict: "an object",
    }  # fmt: skip
    return names[type(value)]

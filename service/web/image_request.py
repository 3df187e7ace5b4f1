"""The endpoint that predicts: from an HTTP request to one decoded image, and to the answer.

It runs in the HTTP process, so a bad request never reaches a batch.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import HTTPException, Request, Response

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
from service.transport.table_transport import RETRY_AFTER, DecodedImage, TableTransport
from service.web.body import read_body
from service.web.image_file import find_image_file

_LOG = logging.getLogger(__name__)
_STATUS_OF = {
    EmptyImageError: 422,
    CorruptImageError: 422,
    ImageTooLargeError: 413,
    UnsupportedImageError: 415,
}


@dataclass(frozen=True)
class Intake:
    """The settings and resources to read requests: limits, geometry, decoding threads, and the table for images.

    The threads are a separate pool, because a call of a thread through anyio costs far more; see docs/decisions (a
    cheaper way through HTTP).
    """

    reader: ImageReader
    max_image_bytes: int
    request_timeout_s: float
    decoders: ThreadPoolExecutor
    table: RequestTable

    @property
    def max_body_bytes(self) -> int:
        """Limit with room for base64 (4/3 of the file), its line breaks, and escapes of '/' and '+' in JSON."""
        return self.max_image_bytes * 3 // 2 + 1_024


async def answer_image_request(request: Request) -> Response:
    """Answer one request. A plain route of Starlette's calls this, see docs/decisions (a plain route).

    Raises
    ------
    fastapi.HTTPException
        See `read_image_request`; 500 for an error of the service itself.
    """
    transport: TableTransport = request.app.state.transport
    try:
        return await transport.submit(await read_image_request(request))
    except HTTPException:
        raise
    except Exception:
        _LOG.exception("a request could not be answered")
        raise HTTPException(500, "the service has failed on this request") from None


async def read_image_request(request: Request) -> DecodedImage:
    """Read, check and decode the image of a request, off the event loop.

    Raises
    ------
    fastapi.HTTPException
        400 not JSON, no form or not base64, 408 not sent in time, 413 too large, 415 not a supported type, 422 missing,
        of the wrong type or corrupt, 503 no slot free, 504 not decoded in time.
    """
    intake: Intake = request.app.state.intake
    deadline_s = time.monotonic() + intake.request_timeout_s
    body = await read_body(request, intake.max_body_bytes, intake.request_timeout_s)
    content_type = request.headers.get("content-type", "")
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
    # No await between here and `TableTransport.submit`: a cancellation would leak the slot.
    return DecodedImage(slot, deadline_s, pixels, decoding, request)


def decode_body(body: bytes, content_type: str, intake: Intake) -> Pixels:
    """The image in a request's body, uint8 RGB of shape (size, size, 3).

    Parameters
    ----------
    content_type:
        The whole header; empty where there is none.

    Raises
    ------
    fastapi.HTTPException
        400, 413, 415 or 422, see `read_image_request`.
    """
    data = find_image_file(body, content_type)
    if len(data) > intake.max_image_bytes:
        raise HTTPException(413, f"the image has {len(data):,} bytes; at most {intake.max_image_bytes:,} are allowed")
    try:
        return intake.reader.read(data)
    except ImageError as error:
        raise HTTPException(_STATUS_OF[type(error)], str(error)) from None

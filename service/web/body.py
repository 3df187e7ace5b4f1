"""A request's body in one piece, up to a limit and a deadline."""

import asyncio

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """All bytes of the body.

    Raises
    ------
    fastapi.HTTPException
        400 not sent to its end, 408 not sent in time, 413 too large.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_bytes)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {timeout_s:g} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request's body was not sent to its end") from None


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = HTTPException(413, f"the request body is larger than {max_bytes:,} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    received_bytes = 0
    async for chunk in request.stream():
        received_bytes += len(chunk)
        if received_bytes > max_bytes:
            raise too_large
        chunks.append(chunk)
    return b"".join(chunks)

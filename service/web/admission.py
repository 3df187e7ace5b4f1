"""Limit the requests in flight and check the key; refuse other requests at once, before they cost anything."""

import hmac
import json

from starlette.types import ASGIApp, Receive, Scope, Send

from service.transport.capacity import Capacity

_RETRY_AFTER_S = 1


class Admission:
    """ASGI middleware for one path: 503 with Retry-After when it is at capacity, 401 without the right key.

    Parameters
    ----------
    path:
        The path that is guarded; requests to other paths pass.
    capacity:
        The limit of requests in flight over all HTTP processes.
    api_key:
        The value that `X-API-Key` must have; empty to let all clients in. A line break at its end is removed.
    """

    def __init__(self, app: ASGIApp, path: str, capacity: Capacity, api_key: str) -> None:
        self._app = app
        self._path = path
        self._capacity = capacity
        self._api_key = api_key.strip().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
        elif not self._is_known(scope):
            await _refuse(send, 401, "the header X-API-Key is missing or wrong")
        elif not self._capacity.enter(process := scope["app"].response_queue_id):
            await _refuse(send, 503, f"{self._capacity.most} requests are in work, no more fit in; try again later")
        else:
            try:
                await self._app(scope, receive, send)
            finally:
                self._capacity.leave(process)

    def _is_known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"x-api-key"), b"")
        # Compare in constant time, so that the time does not reveal how much of a guessed key is right.
        return not self._api_key or hmac.compare_digest(given, self._api_key)


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", str(_RETRY_AFTER_S).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""HEAD wherever GET is answered: monitors and load balancers ask so, and FastAPI answers it nowhere."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware: the application sees a GET; uvicorn knows that it was a HEAD and sends no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # A copy: uvicorn looks into its own.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)

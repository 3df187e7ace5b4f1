"""A server that does nothing but wait: what a client measures on it, the client itself can do.

python -m tools.null_server --port 8000 --delay-ms 20
"""

import argparse
import asyncio

from aiohttp import web

ANSWER = {"answer": 42}


def create_app(delay_s: float) -> web.Application:
    """`/predict` answers after the delay, however many ask at a time."""

    async def predict(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(delay_s)
        return web.json_response(ANSWER)

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.post("/predict", predict), web.get("/health", health)])
    return app


def main() -> None:
    """Serve until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tools.null_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    options = parser.parse_args()
    web.run_app(create_app(options.delay_ms / 1e3), host=options.host, port=options.port, print=None)


if __name__ == "__main__":
    main()

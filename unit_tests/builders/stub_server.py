"""A server for the tests of the load: `python stub_server.py --host 127.0.0.1 --port 8000`.

Every path under /predict answers a POST after the same delay, each in its own way; `ANSWER` is the right answer. The
path /seen tells the bodies that each connection has sent so far, and the number of requests in flight.
"""

import argparse
import asyncio
import itertools
import os
import time

from aiohttp import web

DELAY_S = 0.15
ANSWER = {"predictions": [{"label": "Cat", "probability": 0.9}]}
# One answer in so many is wrong in the modes that are sometimes wrong.
WRONG_EVERY = 3
# The bytes that are kept of each request, in the mode that keeps them.
KEPT_BYTES = 1_000_000


def create_app() -> web.Application:
    """All endpoints."""
    numbers = itertools.count(1)
    kept: list[bytearray] = []
    sent: dict[tuple[str, int], list[str]] = {}
    in_flight: set[int] = set()

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def info(request: web.Request) -> web.Response:
        return web.json_response({"server": {"devices": ["cpu"], "workers_per_device": 1}})

    async def seen(request: web.Request) -> web.Response:
        return web.json_response({"sent": list(sent.values()), "in_flight": len(in_flight)})

    async def predict(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        assert request.transport is not None
        sent.setdefault(request.transport.get_extra_info("peername"), []).append(body.decode())
        in_flight.add(id(request))
        try:
            return await answer(request, body)
        finally:
            in_flight.remove(id(request))

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        began_s = time.monotonic()
        await asyncio.sleep(DELAY_S)
        number = next(numbers)
        match request.match_info["mode"]:
            case "right":
                return web.json_response(ANSWER)
            case "timed":
                took_ms = (time.monotonic() - began_s) * 1e3
                stages = f"sleep;dur={took_ms:.3f};cpu=0.5;shared=2;end={time.time():.6f}, cache;desc=miss"
                return web.json_response(ANSWER, headers={"Server-Timing": stages})
            case "keeps":
                kept.append(bytearray(os.urandom(KEPT_BYTES)))
                return web.json_response(ANSWER)
            case "echo":
                return web.json_response({"body": body.decode(), "type": request.content_type})
            case "nearly-right":
                return web.json_response({"predictions": [{"label": "Cat", "probability": 0.9 + number % 3 / 1000}]})
            case "sometimes-wrong" if number % WRONG_EVERY == 0:
                return web.json_response({"predictions": [{"label": "Dog", "probability": 0.9}]})
            case "sometimes-500" if number % WRONG_EVERY == 0:
                return web.Response(status=500, text="no memory left")
            case "sometimes-wrong" | "sometimes-500":
                return web.json_response(ANSWER)
            case "not-json":
                return web.Response(text="<html>")
            case "closes":
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            case "stream":
                response = web.StreamResponse()
                await response.prepare(request)
                await response.write(b"1\n")
                await asyncio.sleep(DELAY_S)
                await response.write(b"2\n")
                return response
            case "never":
                await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(1.0)
                return web.json_response(ANSWER)
            case "dies":
                os._exit(3)
        raise web.HTTPNotFound(text="no such mode")

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/info", info), web.get("/seen", seen)])
    app.add_routes([web.post("/predict/{mode}", predict)])
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    # What is never answered isn't waited for at the end either.
    web.run_app(create_app(), host=arguments.host, port=arguments.port, print=None, shutdown_timeout=0.1)

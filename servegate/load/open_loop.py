"""Open-loop load: requests come at random times that the answers don't change, as from clients of their own.

A closed loop slows down with the server and so hides how long its requests would have waited. Here a request's time
counts from when it was to be sent, also where the client or its connections were too busy to send it then (Tene, *How
NOT to Measure Latency*: no coordinated omission).
"""

import asyncio
import random
import time
from collections.abc import Iterator

from servegate.load.requests import Requester


def poisson_arrivals_s(rate_per_s: float, duration_s: float, rng: random.Random) -> Iterator[float]:
    """Times of a Poisson process, seconds from its start."""
    at_s = rng.expovariate(rate_per_s)
    while at_s < duration_s:
        yield at_s
        at_s += rng.expovariate(rate_per_s)


async def send_at_random(
    requester: Requester, rate_per_s: float, duration_s: float, rng: random.Random
) -> list[asyncio.Task[None]]:
    """Send requests at `rate_per_s` on average for this long, or until the requester gives up.

    Returns
    -------
    list of asyncio.Task
        The requests, of which some are not answered yet.
    """
    start_s = time.monotonic()
    requests: list[asyncio.Task[None]] = []
    for arrival_s in poisson_arrivals_s(rate_per_s, duration_s, rng):
        due_s = start_s + arrival_s
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if requester.gave_up.is_set():
            break
        requests.append(asyncio.create_task(requester.send(due_s)))
    else:
        # Not until the last arrival: all processes that share a load are measured for the same time.
        await asyncio.sleep(max(0.0, start_s + duration_s - time.monotonic()))
    return requests

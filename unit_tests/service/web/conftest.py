"""An application behind the service's HTTP protocol, and a client of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from unit_tests.builders.raw_http import Client, served


@pytest.fixture
async def port(anyio_backend: str) -> AsyncIterator[int]:
    """Where an application is served."""
    async with served() as port:
        yield port


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    """A client of the application."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()
    await writer.wait_closed()

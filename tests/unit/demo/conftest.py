"""A backend without delays on a free port, and a client that opens a connection for each request."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.demo.backend import Backend, Latency
from proxy.demo.client import once
from tests.ports import reserved_port

AT_ONCE = Latency(create=0, load=0, update=0, status=0, history=0, event=0.001)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """Run a backend without latency."""
    backend = Backend(AT_ONCE)
    await backend.start(port=reserved_port())  # some tests stop it, and expect that nobody is there
    yield backend
    await backend.stop()


@pytest.fixture
async def client(backend: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    """Talk to the backend, each request on a connection of its own."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(backend.url, connector=connector, middlewares=[once]) as session:
        yield session

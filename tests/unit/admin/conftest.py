"""A ready sidecar, and a client of its admin listener without a token."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from tests.unit.admin.sidecar import Sidecar, client_of


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def client(sidecar: Sidecar) -> AsyncIterator[ClientSession]:
    async with client_of(sidecar) as session:
        yield session

"""The fixtures of one test file: a scripted backend in the file's own event loop."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.e2e.raw import Origin


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[Origin]:
    """Run a scripted backend."""
    origin = Origin()
    await origin.start()
    yield origin
    await origin.stop()

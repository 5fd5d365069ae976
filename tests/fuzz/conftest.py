"""What was opened for all plays is closed after them."""

from collections.abc import Iterator

import pytest

from tests.fuzz.peers import world


@pytest.fixture(scope="session", autouse=True)
def _one_world() -> Iterator[None]:
    yield
    if world.cache_info().currsize:
        world().close()
        world.cache_clear()

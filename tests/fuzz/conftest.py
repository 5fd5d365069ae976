"""Close what was opened for all tests."""

from collections.abc import Iterator

import pytest

from tests.fuzz.peers import world


@pytest.fixture(scope="session", autouse=True)
def _one_world() -> Iterator[None]:
    yield
    if world.cache_info().currsize:
        world().close()
        world.cache_clear()

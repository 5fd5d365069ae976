"""The line to Redis while Redis is away: what is remembered, and who is told."""

import asyncio

import pytest

from proxy.store.line import ERRANDS, Line
from proxy.store.link import Link, StoreDown


async def test_who_waits_for_a_command_that_gives_way_is_told() -> None:
    """Beyond what is remembered the oldest gives way: an errand silently, a question with an answer."""
    link = Link("redis://127.0.0.1:1", "test", 5.0, lambda _: None)
    line = Line(link)
    waiting = asyncio.ensure_future(line._ask((b"GET", b"a")))
    for number in range(ERRANDS):
        line.errand(b"SET", b"%d" % number, b"")
    with pytest.raises(StoreDown, match="full"):
        await waiting
    await line.close()
    await link.close()

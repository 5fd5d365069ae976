"""A response does not wait for the store beyond its deadline: a question to Redis may take as long as store.timeout."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_time(question: Callable[[], Awaitable[T]], left_s: float, late: T) -> T:
    """Return the result of a question to the store, or `late` if it takes longer than `left_s` seconds.

    Without time left the question is not begun. One that is cut short may have reached the store.
    """
    if left_s <= 0:
        return late
    try:
        async with asyncio.timeout(left_s):
            return await question()
    except TimeoutError:
        return late

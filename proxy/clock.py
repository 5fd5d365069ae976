"""The only clock. Policies never import this file: they are handed `now`."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tell and pass the time. Tests put a fake in its place."""

    def now(self) -> float:
        """Return monotonic seconds; only differences mean something."""
        ...

    def wall(self) -> float:
        """Return Unix seconds, for people, records and HTTP dates."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return `seconds` later."""
        ...


class SystemClock:
    """The machine's clock. `perf_counter`, because `loop.time()` under uvloop is only 1 ms fine."""

    __slots__ = ()

    now = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)  # noqa: TID251 - this file owns the clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this file owns waiting

"""The only clock. Policies never import this module: `now` is their parameter."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Read the time and sleep. Tests use a fake."""

    def now(self) -> float:
        """Return monotonic seconds; only differences are meaningful."""
        ...

    def wall(self) -> float:
        """Return Unix seconds, for logs, records and HTTP dates."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        ...


class SystemClock:
    """The machine's clock. It uses `perf_counter`: `loop.time()` under uvloop has a resolution of 1 ms."""

    __slots__ = ()

    now = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)  # noqa: TID251 - this file owns the clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this file owns waiting

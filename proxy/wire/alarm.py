"""One timer for the deadlines of one connection's requests, which mostly end long before."""

import asyncio
from collections.abc import Callable
from math import inf

TICK_S = 0.001  # of the loop's clock


class Alarm:
    """Calls `ring` once `until` is over. A timer that is set stays for later deadlines: most requests end in time."""

    __slots__ = ("_loop", "_ring", "_timer", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self.until = inf  # in the loop's seconds

    def set(self, timeout_s: float) -> None:
        """Ring in `timeout_s` from now, and not at the time that was set before."""
        self.until = until = self._loop.time() + timeout_s
        if self._timer is not None and self._timer.when() > until:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._due)

    def put_off(self) -> None:
        """Ring no more until a time is set."""
        self.until = inf

    def cancel(self) -> None:
        """Ring never again."""
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        self._timer = None
        if self.until == inf:
            return
        if self._loop.time() < self.until - TICK_S:
            self._timer = self._loop.call_at(self.until, self._due)
        else:
            self._ring()

"""One timer for the deadlines of one connection's requests, which mostly end long before."""

import asyncio
from collections.abc import Callable
from math import inf

TICK_S = 0.001  # of the loop's clock
LATE_S = (
    0.5  # a timer that is called so late: the process was suspended (SIGSTOP, a frozen cgroup) or the loop stood still
)
GRACE_S = 0.05  # then for reading what arrived meanwhile: timers are called before sockets are looked at


class DeadlineTimer:
    """Calls `ring` once `until` is over. A timer that is set stays for later deadlines: most requests end in time."""

    __slots__ = ("_late", "_loop", "_ring", "_timer", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._late = False  # it was late, and what arrived meanwhile is being read
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
        """Ring never again; what would be called leads back here, and a cycle would be the collector's work."""
        self._ring = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        if self.until == inf:
            self._late = False
            return
        late_s = self._loop.time() - self.until
        if late_s < -TICK_S:
            self._timer = self._loop.call_at(self.until, self._due)
        elif late_s > LATE_S and not self._late:
            self._late = True
            self._timer = self._loop.call_later(GRACE_S, self._due)
        else:
            self._late = False
            self._ring()


def _nothing() -> None:
    """Stand for what is not called any more."""

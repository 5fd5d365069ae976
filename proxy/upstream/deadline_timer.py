"""One timer for the deadlines of all requests on a connection, most of which finish early."""

import asyncio
from collections.abc import Callable
from math import inf

TICK_S = 0.001  # resolution of the loop's clock
LATE_S = 0.5  # delay of a timer that shows a suspended process (SIGSTOP, a frozen cgroup) or a blocked loop
GRACE_S = 0.05  # seconds to read data that arrived meanwhile: timers run before sockets are read


class DeadlineTimer:
    """Call `ring` after `until`. A set timer is kept for later deadlines: most requests finish early."""

    __slots__ = ("_late", "_loop", "_ring", "_timer", "until")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._late = False  # the timer was late; data that arrived meanwhile is being read
        self.until = inf  # in the loop's time

    def set(self, timeout_s: float) -> None:
        """Replace the deadline: call `ring` in `timeout_s` seconds."""
        self.until = until = self._loop.time() + timeout_s
        if self._timer is not None and self._timer.when() > until:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._due)

    def put_off(self) -> None:
        """Disarm the timer until the next `set`."""
        self.until = inf

    def cancel(self) -> None:
        """Cancel for good and drop the callback, which would keep a reference cycle alive."""
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
    """Replace a callback that must not be called again."""

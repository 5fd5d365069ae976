"""How fast the other side of a connection takes what is written to it. Both legs have one of these."""

import asyncio


class FlowControl:
    """Whether a writer has to wait, and for how long nothing has been taken. `now` is the leg's coarse time.

    Bytes that a transport holds are the only measure that both loops offer: as long as they become fewer, the other
    side is only slow.
    """

    __slots__ = ("_loop", "_unwritten", "moved_at", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._loop = loop
        self._unwritten = 0
        self.moved_at = now  # the last time at which something was taken, or nothing was left
        self.writable: asyncio.Future[None] | None = None  # while the other side is behind

    def pause(self, now: float) -> None:
        """Take note that the other side is behind."""
        self.writable = self._loop.create_future()
        self.moved_at = now
        self._unwritten = 0

    def resume(self) -> None:
        """Take note that it has caught up."""
        self.wake()
        self.writable = None

    def wake(self) -> None:
        """Let a waiting writer look again."""
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)

    def stalled_s(self, transport: asyncio.Transport, now: float) -> float:
        """Return the seconds for which nothing was taken of what waits; 0 where nothing waits."""
        unwritten = transport.get_write_buffer_size()
        if unwritten < self._unwritten or not self._unwritten:
            self.moved_at = now
        self._unwritten = unwritten
        return now - self.moved_at
